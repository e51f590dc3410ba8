// The client of the GraphQL API. It knows HTTP, error codes and retries, and nothing about views.

// Failure is an error of the API, or LOST if there was no answer from it.
export class Failure extends Error {
  constructor(code, message, about) {
    super(message);
    Object.assign(this, { code, after: 0, ...about });
  }
}

// The key is in this variable only, and in session storage if the person asked for it.
let key = "";
export const setKey = (value) => { key = value; };
export const headers = () => ({ Authorization: `Bearer ${key}` });

// main.js sets the hooks: waiting(failure, seconds, now) before a query is repeated, answered(), and refused() for the key.
export const hooks = {};

// asked has the operations of the current view, so that people can do the same from a program.
export const asked = new Map();

const operations = new Map();

export async function loadOperations() {
  const response = await fetch("console/operations.graphql");
  if (!response.ok) throw new Failure();
  for (const block of (await response.text()).trim().split(/\n{2,}/)) {
    operations.set(/^(?:query|mutation|subscription|fragment) (\w+)/m.exec(block)[1], block);
  }
}

function textOf(name) {
  const parts = new Set([operations.get(name)]);
  for (const part of parts) {
    for (const [, fragment] of part.matchAll(/\.\.\.(\w+)/g)) parts.add(operations.get(fragment));
  }
  return [...parts].join("\n\n");
}

export function endpoint(namespace) {
  const url = new URL("graphql", document.baseURI);
  if (namespace) url.searchParams.set("namespace", namespace);
  return url.href;
}

async function send(name, variables, { namespace, signal, accept = "application/json", within = AbortSignal.timeout(30_000) }) {
  const sent = key;
  const response = await fetch(endpoint(namespace), {
    method: "POST",
    cache: "no-store",
    headers: { ...headers(), "Content-Type": "application/json", Accept: accept },
    body: JSON.stringify({ operationName: name, query: textOf(name), variables }),
    signal: AbortSignal.any([signal, within].filter(Boolean)),
  }).catch((error) => {
    throw signal?.aborted ? error : new Failure("LOST", "The server does not answer.");
  });
  if (response.status === 401 && sent === key) {
    hooks.refused();
    throw new Failure("UNAUTHENTICATED", "This key does not work, or no longer.");
  }
  return response;
}

async function once(name, variables, options) {
  const response = await send(name, variables, options);
  const about = { requestId: response.headers.get("X-Request-Id"), after: Number(response.headers.get("Retry-After")) || 0 };
  const { data, errors } = await response.json().catch((error) => {
    throw options.signal?.aborted ? error : new Failure("LOST", `The server answered with status ${response.status}.`, about);
  });
  if (errors) throw new Failure(errors[0].extensions?.code, errors[0].message, { field: errors[0].extensions?.field, ...about });
  return data;
}

// events yields null at first and when it is connected, and then the data of each event, until the stream ends.
export async function* events(name, variables, options) {
  yield null;
  const response = await send(name, variables, { ...options, accept: "text/event-stream", within: null });
  if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) throw new Failure();
  yield null;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ""; ;) {
    const { value, done } = await reader.read().catch(() => ({ done: true }));
    if (done) return;
    const blocks = (text + value).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const { data, errors } = JSON.parse(/^data: (.+)/m.exec(block)?.[1] ?? "{}");
      if (errors) throw new Failure();
      if (data) yield data;
    }
  }
}

// ask resolves to the data of an operation, or rejects with the first Failure. Queries are repeated while there is no answer, and twice if
// the server is overloaded. Mutations are never repeated.
export async function ask(name, variables = {}, options = {}) {
  const text = textOf(name);
  asked.set(name, { text, variables, namespace: options.namespace });
  for (let attempt = 0; ; attempt++) {
    try {
      const data = await once(name, variables, options);
      hooks.answered();
      return data;
    } catch (failure) {
      const tries = { LOST: Infinity, RATE_LIMITED: Infinity, UNAVAILABLE: 2 }[failure.code] ?? 0;
      if (!/^query /m.test(text) || attempt >= tries || options.signal?.aborted) {
        if (failure instanceof Failure && failure.code !== "LOST") hooks.answered();
        throw failure;
      }
      const seconds = Math.max(failure.after, Math.min(2 ** attempt, 15));
      await new Promise((resolve) => {
        setTimeout(resolve, seconds * 1000);
        hooks.waiting(failure, seconds, resolve);
        addEventListener("online", resolve, { once: true });
        options.signal?.addEventListener("abort", resolve, { once: true });
      });
      options.signal?.throwIfAborted();
    }
  }
}
