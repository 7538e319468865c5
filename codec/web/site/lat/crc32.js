/** zlib's CRC-32, four bytes at a time. */

const TABLES = Array.from({ length: 4 }, () => new Uint32Array(256));
for (let i = 0; i < 256; i++) {
  let c = i;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
  TABLES[0][i] = c;
}
for (let t = 1; t < 4; t++)
  for (let i = 0; i < 256; i++) TABLES[t][i] = (TABLES[t - 1][i] >>> 8) ^ TABLES[0][TABLES[t - 1][i] & 255];

/** CRC of a Uint8Array; `crc` is that of the bytes before it. */
export function crc32(bytes, crc = 0) {
  const [a, b, c, d] = TABLES;
  const whole = bytes.length & ~3;
  let state = ~crc;
  let i = 0;
  for (; i < whole; i += 4) {
    state ^= bytes[i] | (bytes[i + 1] << 8) | (bytes[i + 2] << 16) | (bytes[i + 3] << 24);
    state = d[state & 255] ^ c[(state >>> 8) & 255] ^ b[(state >>> 16) & 255] ^ a[state >>> 24];
  }
  for (; i < bytes.length; i++) state = (state >>> 8) ^ a[(state ^ bytes[i]) & 255];
  return ~state >>> 0;
}
