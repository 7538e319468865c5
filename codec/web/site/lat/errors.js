/**
 * Everything this module raises on purpose, named as in codec/errors.py.
 *
 * LatError
 * ├── FormatError             the bytes are no valid .lat file
 * │   ├── TruncatedError      they end too early
 * │   └── ChecksumError       they were altered
 * ├── LimitError              valid, but larger than the caller or the browser allows
 * ├── MissingModelError       coded with weights that this folder does not have
 * └── DesyncError             latents decode, but are not the ones that were written
 */
export class LatError extends Error {
  name = "LatError";
}
export class FormatError extends LatError {
  name = "FormatError";
}
export class TruncatedError extends FormatError {
  name = "TruncatedError";
}
export class ChecksumError extends FormatError {
  name = "ChecksumError";
}
export class LimitError extends LatError {
  name = "LimitError";
}
export class MissingModelError extends LatError {
  name = "MissingModelError";
}
export class DesyncError extends LatError {
  name = "DesyncError";
}

const KINDS = { FormatError, TruncatedError, ChecksumError, LimitError, MissingModelError, DesyncError };

/** An error that came out of the worker as { name, message }. */
export const revive = ({ name, message }) => new (KINDS[name] ?? LatError)(message);
