// Networks as the page unpacks and runs them, against the rounded networks in PyTorch.
import assert from "node:assert";
import { readFileSync } from "node:fs";
import test from "node:test";

const { forward, unpackNetwork } = await import(process.env.SCRIPT);
const golden = JSON.parse(readFileSync(process.env.GOLDEN, "utf8"));

for (const [number, { bytes, layers, inputs, outputs }] of golden.cases.entries())
  test(`network ${number}`, () => {
    const raw = Buffer.from(bytes, "hex"), aside = new Uint8Array(raw.length + 1);
    aside.set(raw, 1);  // as a kernel may send it: at an odd offset of a larger buffer
    const network = unpackNetwork(new DataView(aside.buffer, 1), layers);
    inputs.forEach((input, i) => {
      const computed = forward(network, input);
      assert.strictEqual(computed.length, outputs[i].length);
      outputs[i].forEach((wanted, j) => {
        const tolerance = 1e-5 * Math.max(1, Math.abs(wanted));
        assert.ok(Math.abs(computed[j] - wanted) < tolerance, `${computed[j]} is not ${wanted}`);
      });
    });
  });

test("an unknown layer is refused", () => {
  assert.throws(() => forward([{ op: "tanh" }], [0]), /no layer tanh/);
});
