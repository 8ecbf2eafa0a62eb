// Knocks with the module of WebAssembly in `MODULE` (the package knock-page-wasm), where the browser's own
// cryptography does not suffice. Its keys are 32 bytes that every script of the page can read.

/** The bytes of the longest name of a door. */
const MAX_DOOR = 64;

/** The module once it is compiled. */
let compiled = null;

const wasmModule = {
  async knockKey(privateKey, server) {
    const key = await inModule([privateKey, server], 32, (module) => module.derive());
    if (!key) {
      throw new Refusal(INVALID_SERVER);
    }
    return key;
  },

  async block(key, { door, time, lease, random }) {
    const seal = (module) => module.seal(door.length, time, lease, random);
    return inModule([key, door], 16, seal);
  },
};

/** Gives `input` to `work`. Returns the first `length` bytes that come out, or null. */
async function inModule(input, length, work) {
  compiled ??= WebAssembly.instantiate(Uint8Array.from(atob(MODULE), (c) => c.charCodeAt(0)));
  const module = (await compiled).instance.exports;
  const buffer = new Uint8Array(module.memory.buffer, module.buffer(), 32 + MAX_DOOR);
  buffer.set(joined(...input));
  const output = work(module) ? buffer.slice(0, length) : null;
  buffer.fill(0);
  return output;
}
