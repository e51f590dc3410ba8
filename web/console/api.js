// The client of the GraphQL API. It knows HTTP, error codes and retries, and nothing about views.

// Failure is an error of the API, or LOST if there was no answer from it.
export class Failure extends Error {
  constructor(code, message, { field, requestId, after = 0 } = {}) {
    super(message);
    Object.assign(this, { code, field, requestId, after });
  }
}

// The key is in this variable only, and in session storage if the person asked for it.
let key = "";
export const setKey = (value) => { key = value; };
export const hasKey = () => key !== "";
export const headers = () => ({ Authorization: `Bearer ${key}` });

// hooks are set by main.js: connection(trouble or null), and refused() when the key no longer works.
export const hooks = { connection() {}, refused() {} };

// asked has the operations of the current view, for people who want to do the same from a program.
export const asked = new Map();

const operations = new Map();

// loadOperations reads operations.graphql. Definitions are separated by empty lines. The server splits the file in the same way, so that
// it knows every text that this page sends.
export async function loadOperations() {
  const response = await fetch("console/operations.graphql");
  if (!response.ok) throw new Failure("LOST", `The server answered with status ${response.status}.`);
  for (const block of (await response.text()).trim().split(/\n{2,}/)) {
    operations.set(/^(?:query|mutation|subscription|fragment) (\w+)/m.exec(block)[1], block);
  }
}

// textOf returns an operation and the fragments that it uses.
export function textOf(name) {
  const parts = [operations.get(name)];
  for (const part of parts) {
    for (const [, fragment] of part.matchAll(/\.\.\.(\w+)/g)) {
      if (!parts.includes(operations.get(fragment))) parts.push(operations.get(fragment));
    }
  }
  return parts.join("\n\n");
}

const endpoint = (namespace) => {
  const url = new URL("graphql", document.baseURI);
  url.hash = "";
  if (namespace) url.searchParams.set("namespace", namespace);
  return url;
};

async function send(name, variables, { namespace, signal, accept = "application/json", within = 30_000 } = {}) {
  const signals = [signal, within && AbortSignal.timeout(within)].filter(Boolean);
  const sent = key;
  let response;
  try {
    response = await fetch(endpoint(namespace), {
      method: "POST",
      cache: "no-store",
      headers: { ...headers(), "Content-Type": "application/json", Accept: accept },
      body: JSON.stringify({ operationName: name, query: textOf(name), variables }),
      signal: AbortSignal.any(signals),
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Failure("LOST", "The server does not answer.");
  }
  if (response.status === 401 && sent === key) {
    hooks.refused();
    throw new Failure("UNAUTHENTICATED", "This key does not work, or no longer.");
  }
  return response;
}

async function once(name, variables, options) {
  const response = await send(name, variables, options);
  const about = { requestId: response.headers.get("X-Request-Id"), after: Number(response.headers.get("Retry-After")) || 0 };
  let result;
  try {
    result = await response.json();
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Failure("LOST", response.ok ? "The answer broke off." : `The server answered with status ${response.status}.`, about);
  }
  const [error] = result.errors ?? [];
  if (error) throw new Failure(error.extensions?.code ?? "", error.message, { field: error.extensions?.field, ...about });
  return result.data;
}

// events yields null at first and when it is connected, and then the data of each event, until the stream ends.
export async function* events(name, variables, options) {
  yield null;
  const response = await send(name, variables, { ...options, accept: "text/event-stream", within: 0 });
  if (!/^text\/event-stream/.test(response.headers.get("Content-Type"))) throw new Failure("", "");
  yield null;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ""; ;) {
    const { value, done } = await reader.read().catch(() => ({ done: true }));
    if (done) return;
    const blocks = (text + value).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const { data, errors } = JSON.parse(/^data: (.+)/m.exec(block)?.[1] ?? "{}");
      if (errors) throw new Failure("", errors[0].message);
      if (data) yield data;
    }
  }
}

// ask runs an operation and resolves to its data, or rejects with the first Failure. Queries are repeated while there is no answer, and
// twice if the server is overloaded; hooks.connection hears about it. Mutations are never repeated.
export async function ask(name, variables = {}, options = {}) {
  const repeat = /^query /m.test(textOf(name));
  if (!options.quiet) asked.set(name, { text: textOf(name), variables, namespace: options.namespace });
  for (let attempt = 0; ; attempt++) {
    try {
      const data = await once(name, variables, options);
      hooks.connection(null);
      return data;
    } catch (failure) {
      const tries = { LOST: Infinity, RATE_LIMITED: Infinity, UNAVAILABLE: 2 }[failure.code] ?? 0;
      if (!repeat || attempt >= tries || options.signal?.aborted) {
        if (failure instanceof Failure && failure.code !== "LOST") hooks.connection(null);
        throw failure;
      }
      const delay = Math.max(failure.after * 1000, Math.min(1000 * 2 ** attempt, 15_000));
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, delay);
        const now = () => { clearTimeout(timer); resolve(); };
        hooks.connection({ failure, until: Date.now() + delay, now });
        addEventListener("online", now, { once: true });
        options.signal?.addEventListener("abort", now, { once: true });
      });
      options.signal?.throwIfAborted();
    }
  }
}
