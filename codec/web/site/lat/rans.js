/** The rANS stream of FORMAT.md. The 64-bit state is kept as two halves: BigInt would take ten times as long. */

import { DesyncError, FormatError } from "./errors.js";

const WHOLE = 1 << 16; // what the frequencies of a table add up to
const SYMBOL_LIMIT = 2 ** 14;
const LARGEST = 5; // bytes of a symbol
const STREAM_ENDS = 64; // bytes of a stream beside its symbols

/** Cumulative frequency tables, one behind the other, each with a shortcut from the upper 8 bits of a value to an interval. */
export class Tables {
  /** tables: [{ offset, cdf }] of FORMAT.md. Throws FormatError. */
  constructor(tables) {
    this.cdf = Int32Array.from(tables.flatMap(({ cdf }) => cdf));
    this.offsets = Int32Array.from(tables, ({ offset }) => offset);
    this.starts = new Int32Array(tables.length);
    this.escapes = new Int32Array(tables.length); // place of each table's last interval
    this.near = new Int32Array(tables.length << 8);
    let start = 0;
    tables.forEach(({ cdf }, i) => {
      const rising = cdf.every((value, k) => !k || cdf[k - 1] < value);
      if (cdf.length < 3 || cdf[0] !== 0 || cdf.at(-1) !== WHOLE || !rising)
        throw new FormatError(`frequency table ${i} of the weights is damaged`);
      this.starts[i] = start;
      this.escapes[i] = start + cdf.length - 2;
      for (let high = 0, k = 0; high < 256; high++) {
        while (cdf[k + 1] <= high << 8) k++;
        this.near[(i << 8) | high] = start + k;
      }
      start += cdf.length;
    });
  }
}

/** Reads symbols in the order they were written. Behind the stream's end everything is 0: a CRC of the latents follows. */
export class SymbolReader {
  /** count: of the values in it, with those that take no bits. Throws FormatError. */
  constructor(stream, count) {
    if (stream.length % 4 || stream.length < 8)
      throw new FormatError(`a stream of ${stream.length} bytes is impossible: must be a multiple of 4, at least 8`);
    if (stream.length > LARGEST * count + STREAM_ENDS)
      throw new FormatError(`a stream of ${stream.length} bytes is impossible: it has ${count} values`);
    this.words = new Uint32Array(stream.slice().buffer);
    this.low = this.words[0];
    this.high = this.words[1];
    this.at = 2;
  }

  /** The next symbols, one for each table index that is not 0 (there the symbol is 0 and takes no bits), into `out`. */
  read(indices, tables, out) {
    const { cdf, near, starts, escapes, offsets } = tables;
    const { words } = this;
    let { low, high, at } = this;
    for (let k = 0; k < indices.length; k++) {
      const index = indices[k];
      if (index === 0) {
        out[k] = 0;
        continue;
      }
      const value = low & 0xffff;
      let i = near[(index << 8) | (value >> 8)];
      while (cdf[i + 1] <= value) i++;
      // state = frequency · (state >> 16) + value − start: the lower half's product stays below 2⁴⁹, exact in a double
      const frequency = cdf[i + 1] - cdf[i];
      const product = frequency * (((low >>> 16) | (high << 16)) >>> 0) + value - cdf[i];
      high = frequency * (high >>> 16) + Math.floor(product / 2 ** 32);
      low = product >>> 0;
      if (high === 0 && low < 2 ** 31) {
        high = low;
        low = at < words.length ? words[at] : 0;
        at++;
      }
      let symbol = i - starts[index] + offsets[index];
      if (i === escapes[index]) {
        this.low = low;
        this.high = high;
        this.at = at;
        const beyond = this.escaped();
        symbol = beyond & 1 ? offsets[index] - (beyond >> 1) - 1 : symbol + (beyond >> 1);
        if (Math.abs(symbol) > SYMBOL_LIMIT)
          throw new DesyncError("a decoded symbol is out of range: the stream was forged or damaged");
        ({ low, high, at } = this);
      }
      out[k] = symbol;
    }
    this.low = low;
    this.high = high;
    this.at = at;
  }

  /** An escaped number, of 32 bits with a sign; nibbles beyond the eighth begin at its lowest bits again. */
  escaped() {
    let count = 0;
    let nibble;
    do {
      nibble = this.nibble();
      count += nibble;
    } while (nibble === 15);
    let value = 0;
    for (let k = 0; k < count; k++) value |= this.nibble() << (4 * (k % 8));
    return value;
  }

  nibble() {
    const nibble = this.low & 15;
    this.low = ((this.low >>> 4) | (this.high << 28)) >>> 0;
    this.high >>>= 4;
    if (this.high === 0 && this.low < 2 ** 31) {
      this.high = this.low;
      this.low = this.at < this.words.length ? this.words[this.at] : 0;
      this.at++;
    }
    return nibble;
  }
}
