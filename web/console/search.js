// The search box: a name, an id, or a whole key. A key is hashed here; it is not sent, and not put into the URL.
import { ask } from "./api.js";
import { h, say, show } from "./dom.js";

// looksLikeKey errs on the safe side: what could be a key is not sent as text unless the person says so.
export function looksLikeKey(text) {
  if (/^(ret_)?sk_\S{8,}$/.test(text)) return true;
  return /^[\w.~+/-]{32,}=*$/.test(text) && /\d/.test(text) && /[a-z]/i.test(text) && !/^(key|ret|ns|org|usr)_/.test(text);
}

const isHash = (text) => /^[0-9a-f]{64}$/i.test(text);

async function hashOf(text) {
  const sum = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return [...new Uint8Array(sum)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function search(form, app, route) {
  const box = form.elements.q;
  const note = h("p", { id: "found", role: "status", hidden: true });
  form.append(note);
  let timer;
  let latest = 0;

  function tell(...what) {
    note.hidden = what.length === 0;
    show(note, ...what);
  }

  function asText(text) {
    tell();
    const { view, params } = route();
    const next = new URLSearchParams(params);
    for (const name of ["after", "before", "at"]) next.delete(name);
    next.set("search", text);
    app.go("keys", "", next, { replace: view === "keys" && params.has("search") });
  }

  async function byHash(text) {
    const mine = ++latest;
    if (!isHash(text) && !globalThis.crypto?.subtle) {
      tell("Browsers hash keys only on HTTPS or localhost. Search for the first ten characters instead.");
      return;
    }
    const hash = isHash(text) ? text : await hashOf(text);
    if (!isHash(text)) box.value = ""; // the plaintext is not needed any more
    try {
      const { apiKeysByHash: [key] } = await ask("KeysByHash", { hashes: [hash] });
      if (mine !== latest) return;
      if (key) {
        tell();
        say("Found the key.");
        app.go("keys", key.keyId, route().params);
        return;
      }
      const begin = /^(ret_)?sk_/.test(text) ? text.slice(0, 10) : "";
      tell("No key that you can see has this hash. ", begin
        ? h("button", { type: "button", onclick: () => { box.value = begin; asText(begin); } }, `Keys that begin with ${begin}`)
        : !isHash(text) && h("button", { type: "button", onclick: () => { box.value = text; asText(text); } }, "Search for it as text"));
    } catch (failure) {
      tell(failure.message);
    }
  }

  async function byId(text) {
    const mine = ++latest;
    try {
      const { nodes: [node] } = await ask("Names", { ids: [text] });
      if (mine !== latest) return;
      if (node?.__typename === "ApiKey") app.go("keys", text, route().params);
      else if (node) app.go("keys", "", new URLSearchParams([["in", text]]));
      else asText(text);
    } catch (failure) {
      tell(failure.message);
    }
  }

  function run() {
    clearTimeout(timer);
    const text = box.value.trim();
    if (isHash(text) || looksLikeKey(text)) byHash(text);
    else if (/^(key|ret|ns)_\w{6,}$/.test(text)) byId(text);
    else if (text !== (route().params.get("search") ?? "")) asText(text.slice(0, 200));
  }

  form.addEventListener("submit", (event) => { event.preventDefault(); run(); });
  box.addEventListener("input", () => {
    tell();
    clearTimeout(timer);
    timer = setTimeout(run, looksLikeKey(box.value.trim()) ? 500 : 250);
  });
  box.addEventListener("paste", () => setTimeout(run)); // after the text has arrived
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault();
    box.value = "";
    run();
    tell();
  });
  addEventListener("hashchange", () => { if (document.activeElement !== box) box.value = route().params.get("search") ?? ""; });
}
