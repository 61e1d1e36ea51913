// SHA-256 of a file. WebCrypto needs all bytes in memory at once, so longer files are hashed piece by piece, by the
// algorithm of FIPS 180-4 section 6.2 written out here: the memory taken is that of one piece.

import { encodeHex, sha256Hex } from "./encoding.mjs";

const WHOLE_BYTES = 1 << 24;
const PIECE_BYTES = 1 << 22;
const BLOCK = 64;

const K = new Int32Array(64);
const START = new Int32Array(8);

// The constants are the first 32 bits of the fractions of the roots of primes: cube roots for K, square for START.
for (let prime = 2, n = 0; n < 64; prime++) {
  if (!Array.from({ length: prime - 2 }, (_, i) => i + 2).every((divisor) => prime % divisor)) continue;
  if (n < 8) START[n] = fraction(BigInt(prime), 2n);
  K[n++] = fraction(BigInt(prime), 3n);
}

/** The first 32 bits after the point of the `degree`-th root of a number. */
function fraction(number, degree) {
  let root = 0n;
  for (let bit = 1n << 36n; bit > 0n; bit >>= 1n) {
    if ((root + bit) ** degree <= number << (32n * degree)) root += bit;
  }
  return Number(BigInt.asIntN(32, root));
}

/** A SHA-256 that takes its input in pieces. */
export class Sha256 {
  #state = START.slice();
  #schedule = new Int32Array(64);
  #rest = new Uint8Array(BLOCK);
  #length = 0;

  update(bytes) {
    const held = this.#length % BLOCK;
    let place = 0;
    this.#length += bytes.length;
    if (held > 0) {
      place = Math.min(BLOCK - held, bytes.length);
      this.#rest.set(bytes.subarray(0, place), held);
      if (held + place < BLOCK) return this;
      this.#block(new DataView(this.#rest.buffer), 0);
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (; place + BLOCK <= bytes.length; place += BLOCK) this.#block(view, place);
    this.#rest.set(bytes.subarray(place));
    return this;
  }

  /** The digest in hex; the object is of no further use. */
  hex() {
    const bits = BigInt(this.#length) * 8n;
    const padding = new Uint8Array(BLOCK - ((this.#length + 8) % BLOCK) + 8);
    padding[0] = 0x80;
    new DataView(padding.buffer).setBigUint64(padding.length - 8, bits);
    this.update(padding);
    const digest = new DataView(new ArrayBuffer(32));
    this.#state.forEach((word, n) => digest.setInt32(4 * n, word));
    return encodeHex(new Uint8Array(digest.buffer));
  }

  #block(view, place) {
    const w = this.#schedule;
    const state = this.#state;
    for (let t = 0; t < 16; t++) w[t] = view.getInt32(place + 4 * t);
    for (let t = 16; t < 64; t++) {
      const x = w[t - 15];
      const y = w[t - 2];
      const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
      const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
      w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
    let a = state[0];
    let b = state[1];
    let c = state[2];
    let d = state[3];
    let e = state[4];
    let f = state[5];
    let g = state[6];
    let h = state[7];
    for (let t = 0; t < 64; t++) {
      const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
      const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
      const first = (h + s1 + ((e & f) ^ (~e & g)) + K[t] + w[t]) | 0;
      const second = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g;
      g = f;
      f = e;
      e = (d + first) | 0;
      d = c;
      c = b;
      b = a;
      a = (first + second) | 0;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
  }
}

/** Hex SHA-256 of a File or Blob; `progress` is told the share done, 0 to 1. */
export async function fileDigest(file, progress = () => {}) {
  if (file.size <= WHOLE_BYTES && globalThis.crypto?.subtle) return sha256Hex(await file.arrayBuffer());
  const digest = new Sha256();
  for (let place = 0; place < file.size; place += PIECE_BYTES) {
    digest.update(new Uint8Array(await file.slice(place, place + PIECE_BYTES).arrayBuffer()));
    progress(Math.min(1, (place + PIECE_BYTES) / file.size));
  }
  return digest.hex();
}
