// Tokens as the text that they are of. It knows manifests; it knows no elements.

/**
 * The example as a text that has its tokens, of a model that has a tokenizer for one; undefined: unknown.
 * @param {any} model
 */
export function asText(model) {
  const [input, another] = model.inputs;
  const steps = model.example?.steps;
  if (!input.tokenizer || another || !Array.isArray(steps)) return undefined;
  const tokens = steps.map((token) => (typeof token === "number" ? input.vocabulary[token] : token));
  const { decoder, model: kind } = JSON.parse(input.tokenizer);
  if (decoder?.type === "Fuse") return tokens.join("");
  if (decoder?.type === "ByteLevel") return fromBytes(tokens.join(""));
  const isWords = !decoder && kind?.type === "WordLevel" && !tokens.includes(kind.unk_token);
  return isWords ? tokens.join(" ") : undefined;
}

/**
 * What byte-level byte-pair encoding writes as one character a byte: 33 to 126, 161 to 172 and 174 to 255 as
 * themselves, the others as those from 256 on.
 * @param {string} written
 */
function fromBytes(written) {
  const bytes = new Map();
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const isPlain = (byte >= 33 && byte <= 126) || (byte >= 161 && byte !== 173);
    bytes.set(String.fromCharCode(isPlain ? byte : next++), byte);
  }
  return new TextDecoder().decode(Uint8Array.from([...written].map((each) => bytes.get(each))));
}
