import { Failure, ask } from "./api.js";
import { button, show } from "./dom.js";

const isHash = (text) => /^[0-9a-f]{64}$/i.test(text);
const isId = (text) => /^(key|ret|ns)_\w{6,}$/.test(text);

// secret finds keys, wherever they stand. Names such as "risk_assessment" are none.
export const secret = /\b(?:ret_)?sk_[\w.~+/-]{8,}=*|(?:ret_)?sk_\w{32,}/;

// keyIn errs on the safe side: other text that could be a key is not sent either, unless the person says so.
const keyIn = (text) => secret.exec(text)?.[0]
  ?? text.match(/[\w.~+/-]{32,}=*/g)?.find((part) => /\d/.test(part) && /[a-z]/i.test(part) && !isHash(part) && !/^(key|ret|ns)_/.test(part));

async function hashOf(text) {
  const sum = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(sum), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// search calls found with an id or a text.
export function search(form, found) {
  const [box] = form.elements;
  const note = form.querySelector("[role=status]");
  let timer;
  let turn = 0; // answers to an earlier search come too late

  async function byHash(text, key, mine) {
    if (key && !crypto.subtle) return show(note, "Browsers hash keys only on HTTPS and localhost. Search for its first ten characters.");
    box.value = ""; // the plaintext is not needed any more
    const parts = key && [key, /^\w*/.exec(key)[0]]; // a full stop behind a key is not of it
    const { apiKeysByHash } = await ask("KeysByHash", { hashes: key ? await Promise.all(parts.map(hashOf)) : [text] });
    if (mine !== turn) return;
    const match = apiKeysByHash.find(Boolean);
    if (match) return found({ id: match.keyId, type: "ApiKey" });
    const start = secret.test(key) ? key.slice(0, 10) : text;
    show(note, "No key that you can see has this hash. ", key && button(start === text ? "Search for it as text" : `Keys that begin with ${start}`, () => {
      show(note);
      box.value = start;
      found({ text: start });
    }));
  }

  async function byId(id, mine) {
    const { nodes: [node] } = await ask("Names", { ids: [id] });
    if (mine === turn) found(node ? { id, type: node.__typename } : { text: id });
  }

  async function run() {
    clearTimeout(timer);
    const mine = ++turn;
    show(note);
    const text = box.value.trim();
    try {
      const key = keyIn(text);
      if (key || isHash(text)) await byHash(text, key, mine);
      else if (isId(text)) await byId(text, mine);
      else found({ text: text.slice(0, 200) });
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure;
      if (mine === turn) show(note, failure.message);
    }
  }

  form.addEventListener("submit", (event) => { event.preventDefault(); run(); });
  box.addEventListener("input", () => { turn++; clearTimeout(timer); timer = setTimeout(run, keyIn(box.value) ? 600 : 250); });
  box.addEventListener("paste", () => setTimeout(run));
}
