// The search box: a name, an id, or a whole key. A key is hashed here; it is not sent, and never in the URL.
import { Failure, ask } from "./api.js";
import { button, show } from "./dom.js";

const isHash = (text) => /^[0-9a-f]{64}$/i.test(text);
const isId = (text) => /^(key|ret|ns)_\w{6,}$/.test(text);

// isKey errs on the safe side: what could be a key is not sent as text unless the person says so.
const isKey = (text) => /^(ret_)?sk_\S{8,}$/.test(text)
  || /^[\w.~+/-]{32,}=*$/.test(text) && /\d/.test(text) && /[a-z]/i.test(text) && !isHash(text) && !/^(key|ret|ns)_/.test(text);

async function hashOf(text) {
  const sum = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(sum), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// search calls found with an id or a text.
export function search(form, found) {
  const [box] = form.elements;
  const note = form.querySelector("[role=status]");
  let timer;

  async function byHash(text) {
    const key = isKey(text);
    if (key && !crypto.subtle) return show(note, "Browsers hash keys only on HTTPS and localhost. Search for its first ten characters.");
    box.value = ""; // the plaintext is not needed any more
    const { apiKeysByHash: [match] } = await ask("KeysByHash", { hashes: [key ? await hashOf(text) : text] });
    if (match) return found({ id: match.keyId, type: "ApiKey" });
    const start = /sk_/.test(text) ? text.slice(0, 10) : text;
    show(note, "No key that you can see has this hash. ", key && button(start === text ? "Search for it as text" : `Keys that begin with ${start}`, () => {
      show(note);
      box.value = start;
      found({ text: start });
    }));
  }

  async function byId(id) {
    const { nodes: [node] } = await ask("Names", { ids: [id] });
    found(node ? { id, type: node.__typename } : { text: id });
  }

  async function run() {
    clearTimeout(timer);
    show(note);
    const text = box.value.trim();
    try {
      if (isKey(text) || isHash(text)) await byHash(text);
      else if (isId(text)) await byId(text);
      else found({ text: text.slice(0, 200) });
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure;
      show(note, failure.message);
    }
  }

  form.addEventListener("submit", (event) => { event.preventDefault(); run(); });
  box.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(run, isKey(box.value.trim()) ? 600 : 250); });
  box.addEventListener("paste", () => setTimeout(run));
}
