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
  let latest = 0;

  function tell(...content) {
    note.hidden = content.length === 0;
    show(note, content);
  }

  function asText(text) {
    tell();
    box.value = text;
    found({ text });
  }

  async function byHash(text) {
    const key = isKey(text);
    if (key && !globalThis.crypto.subtle) return tell("Browsers hash keys only on HTTPS and localhost. Search for its first ten characters.");
    const hash = key ? await hashOf(text) : text;
    box.value = ""; // the plaintext is not needed any more
    const { apiKeysByHash: [match] } = await ask("KeysByHash", { hashes: [hash] });
    if (match) return found({ id: match.keyId, type: "ApiKey" });
    const start = /sk_/.test(text) && text.slice(0, 10);
    tell("No key that you can see has this hash. ", start ? button(`Keys that begin with ${start}`, () => asText(start)) : key && button("Search for it as text", () => asText(text)));
  }

  async function byId(id) {
    const { nodes: [node] } = await ask("Names", { ids: [id] });
    if (node) found({ id, type: node.__typename });
    else asText(id);
  }

  async function run() {
    clearTimeout(timer);
    tell();
    const text = box.value.trim();
    const mine = ++latest;
    try {
      if (isKey(text) || isHash(text)) await byHash(text);
      else if (isId(text)) await byId(text);
      else found({ text: text.slice(0, 200) });
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure;
      if (mine === latest) tell(failure.message);
    }
  }

  form.addEventListener("submit", (event) => { event.preventDefault(); run(); });
  box.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(run, isKey(box.value.trim()) ? 600 : 250); });
  box.addEventListener("paste", () => setTimeout(run)); // when the text has arrived
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault();
    box.value = "";
    run();
  });
}
