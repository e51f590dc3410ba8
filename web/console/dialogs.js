import { Failure, ask, endpoint } from "./api.js";
import { button, copyable, h, options, say, show } from "./dom.js";
import { bdi, count, day, duration, isolate, nameOf, number, reach, time, words } from "./format.js";

let ids = 0;

// dialog opens a form. act runs when it is submitted. If that fails, what was typed stays, and the error stands beside its field. lost is
// what to say if there is no answer. guard, if given, is called instead of closing.
function dialog(title, content, { fields = {}, submit, kind = ".primary", act, lost, guard }) {
  const id = `dialog-${++ids}`;
  const trouble = h("p.error", { role: "alert" });
  const send = submit && h(`button${kind}`, submit);
  const form = h("form", { novalidate: true, onsubmit }, h("h2", { id }, title), content, Object.values(fields).map(({ element }) => element), trouble,
    h("footer", !guard && button(act ? "Cancel" : "Close", close), send));
  const element = h("dialog", { "aria-labelledby": id, closedby: "none" }, form);

  function close() {
    element.close();
    element.remove();
  }
  // At a second Escape, browsers close a dialog even if cancel is prevented. Preventing the key itself works.
  element.addEventListener("cancel", (event) => event.preventDefault());
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault();
    (guard ?? close)();
  });
  // Android's Back closes a dialog where closedby is unknown.
  element.addEventListener("close", () => {
    if (!guard) element.remove();
    else if (element.isConnected) element.showModal();
  });

  async function onsubmit(event) {
    event.preventDefault();
    if (form.ariaBusy === "true" || !act) return;
    form.ariaBusy = "true";
    show(trouble);
    for (const field of Object.values(fields)) field.fail("");
    try {
      if (await act(close) !== false) close();
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure;
      const { code, field, message, requestId } = failure;
      if (fields[field]) fields[field].fail(message, field);
      else show(trouble, code === "LOST" ? `There was no answer. ${lost}` : message, requestId && [" Request ", h("code", requestId)]);
    } finally {
      form.ariaBusy = "false";
    }
  }

  document.body.append(element);
  element.showModal();
  return { element, close, send };
}

function field(label, control, hint, more) {
  const id = `field-${++ids}`;
  const note = h("p.error", { id: `${id}-error` });
  const first = control.value; // a control cannot show every stored text as it is
  control.id = id;
  control.setAttribute("aria-describedby", `${id}-hint ${id}-error`);
  return {
    control,
    changed: () => control.value !== first,
    element: h("div.field", h("label", { for: id }, label), control, more, hint && h("p.hint", { id: `${id}-hint` }, hint), note),
    // The API's message begins with the field's name, and with an index if it is a list.
    fail(message, name = "") {
      note.textContent = message.startsWith(name) ? message.replace(name, name && label).replace(/\[(\d+)\]/, (_, i) => ` ${Number(i) + 1}`) : message;
      control.ariaInvalid = String(Boolean(message));
      if (message) control.focus();
    },
  };
}

const area = (value, more) => h("textarea", { rows: 2, ...more }, value);
const text = (value = "", more = {}) => h("input", { autocomplete: "off", value, ...more });
const choice = (choices, chosen) => h("select", options(choices, chosen));

// as says what the API does if nothing is chosen: expiresAt() is undefined.
function expiry({ maxLifetimeSeconds: most }, as, never) {
  const days = [7, 30, 90, 365].filter((n) => !most || n * 86_400 <= most);
  const end = choice({
    ...as && { as }, ...Object.fromEntries(days.map((n) => [`${n} days`, `In ${n} days`])), ...never && !most && { never: "Never" }, date: "On a date",
  }, as ? "as" : "90 days");
  const date = h("input", { type: "date", "aria-label": "Last day", hidden: end.value !== "date" });
  end.addEventListener("change", () => { date.hidden = end.value !== "date"; });
  return {
    ...field("Expires", end, most && `At most ${duration(most)} from now.`, date),
    expiresAt() {
      if (end.value === "as") return undefined;
      if (end.value === "never") return null;
      if (end.value !== "date") return new Date(Date.now() + parseInt(end.value, 10) * 86_400_000).toISOString();
      if (!date.value) throw new Failure("", "Choose a day.", { field: "expiresAt" });
      return new Date(`${date.value}T23:59:59`).toISOString();
    },
  };
}

const byDefault = ({ defaultLifetimeSeconds: usual }) => usual && `After ${duration(usual)}, the default`;
const asItIs = ({ expiresAt }) => `As it is: ${expiresAt ? day(expiresAt) : "never"}`;

function settings({ policy }, key) {
  const usual = byDefault(policy);
  const fields = {
    name: field("Name", text(key?.name)),
    description: field("Description", area(key?.description)),
    expiresAt: expiry(policy, key ? asItIs(key) : usual, key || !usual),
    allowedOrigins: field("Origins", area(key?.allowedOrigins?.join("\n"), { spellcheck: "false", placeholder: "https://app.example.com" }),
      "Of web pages, one a line; https://*.example.com for all subdomains. Empty: any."),
    rateLimitOverride: field("Requests a minute", text(key?.rateLimitOverride ?? "", { inputmode: "numeric" }), "Empty: the organization's limit."),
  };
  function values() {
    const [name, description, , origins, limit] = Object.values(fields).map(({ control }) => control.value.trim());
    if (!/^\d{0,9}$/.test(limit)) throw new Failure("", "must be a number.", { field: "rateLimitOverride" });
    return {
      name, description, expiresAt: fields.expiresAt.expiresAt(),
      allowedOrigins: origins.split(/[\s,]+/).filter(Boolean), rateLimitOverride: limit ? Number(limit) : null,
    };
  }
  return { fields, values };
}

export function createDialog(app, created) {
  const { places, place } = app;
  const choices = [...places.values()].filter(({ canCreate }) => canCreate).map(({ id, name, namespace }) => [id, `${isolate(name)} in ${isolate(namespace.name)}`]);
  const retrieverId = field("Retriever", choice(Object.fromEntries(choices), place.id), "The key executes it, and can do nothing else.");
  const { fields, values } = settings(app);
  dialog("New key", null, {
    fields: { retrieverId, ...fields }, submit: "Create the key",
    async act(close) {
      const { id, namespace } = places.get(retrieverId.control.value);
      const { createApiKey: made } = await ask("CreateKey", { input: { retrieverId: id, ...values() } }, { namespace: namespace.id });
      close();
      secretDialog("Your new key", made.key, made.apiKey);
      created();
    },
    lost: "The key may exist without its plaintext: look for it in the list, and revoke it before you create another.",
  });
}

export function editDialog(app, key, changed) {
  const { fields, values } = settings(app, key);
  dialog("Edit the key", null, {
    fields, submit: "Save",
    async act() {
      const input = Object.fromEntries(Object.entries(values()).filter(([name]) => fields[name].changed()));
      if (Object.keys(input).length) await ask("UpdateKey", { input: { id: key.keyId, ...input } });
      say("Saved.");
      changed();
    },
    lost: "Try again: saving twice does no harm.",
  });
}

export function rotateDialog(app, key, rotated) {
  const { policy } = app;
  const overlapSeconds = field("The old key keeps working", choice({
    "3600s": "for an hour", "86400s": "for a day", "604800s": "for 7 days", "2592000s": "for 30 days", "0s": "not at all: it stops at once",
  }, "86400s"));
  const most = policy.maxLifetimeSeconds;
  const kept = most && Date.parse(key.expiresAt) > Date.now() + most * 1000 ? `After ${duration(most)}, the most` : asItIs(key);
  const expiresAt = expiry(policy, key.expiresAt || !most && !byDefault(policy) ? kept : byDefault(policy));
  dialog(["Rotate ", bdi(nameOf(key))], [
    h("p", "A new key takes its place, with the same name, reach, origins and limit. It belongs to you."),
    key.keyId === app.viewer.keyId && h("p.note.warn", "You are using this key now. Enter the new one here before the old one ends."),
  ], {
    fields: { overlapSeconds, expiresAt }, submit: "Rotate the key",
    async act(close) {
      const { rotateApiKey: made } = await ask("RotateKey", { input: { id: key.keyId, overlapSeconds: parseInt(overlapSeconds.control.value, 10), expiresAt: expiresAt.expiresAt() } });
      close();
      secretDialog("The new key", made.key, made.apiKey, made.previous.status === "ACTIVE" ? ["The old key works until ", time(made.previous.expiresAt), "."] : "The old key has stopped working.");
      rotated(made.apiKey);
    },
    lost: "If the key was rotated, the new plaintext is lost: look at the key first.",
  });
}

// revokeDialog shows what would happen, and then does it. Keys that could not be revoked stay in it, with what would happen now.
export function revokeDialog(app, ids, revoked) {
  const body = h("div", { role: "status" }, "Asking what would happen …");
  const reason = field("Reason", text(), "It is kept with the key and in the trail.");
  const sure = ids.length > 10 && field(`Type ${ids.length} to confirm`, text());
  const list = (results, about) => h("ul", results.slice(0, 8).map((result) => h("li", h("b", bdi(result.apiKey ? nameOf(result.apiKey) : result.id)), " ", h("span.hint", about(result)))),
    results.length > 8 && h("li.hint", `and ${number(results.length - 8)} more`));
  let left = ids;

  async function revoke(dryRun) {
    const { revokeApiKeys: { results } } = await ask("RevokeKeys", { input: { ids: left, dryRun, reason: reason.control.value.trim() || null } });
    return results;
  }

  async function preview() {
    const results = await revoke(true);
    const will = results.filter(({ outcome }) => outcome === "WOULD_REVOKE");
    const not = results.filter((result) => !will.includes(result));
    left = will.map(({ id }) => id);
    show(body,
      will.length > 0 && [h("p.note.warn", will.length === 1 ? [h("b", bdi(nameOf(will[0].apiKey))), " stops"] : `${number(will.length)} keys stop`, " working at once, everywhere, for good."),
        list(will, ({ apiKey }) => [reach(apiKey), ", last used ", time(apiKey.lastUsedAt)])],
      left.includes(app.viewer.keyId) && h("p.note.warn", "You are using one of them now, and will have to enter another."),
      not.length > 0 && [h("p", "Nothing happens to these:"), list(not, ({ outcome, message }) => message || words(outcome))]);
    send.disabled = !will.length;
    send.textContent = will.length === 1 ? "Revoke the key" : `Revoke ${number(will.length)} keys`;
  }

  const { send } = dialog("Revoke", body, {
    fields: { reason, ...sure && { sure } }, submit: "Revoke", kind: ".danger",
    async act() {
      if (sure && sure.control.value.trim() !== String(ids.length)) throw new Failure("", `Type ${ids.length}.`, { field: "sure" });
      const results = await revoke(false);
      const not = results.filter(({ outcome }) => !/^(ALREADY_)?REVOKED$/.test(outcome));
      say(`${count(results.length - not.length, "key")} revoked.`);
      revoked();
      if (!not.length) return true;
      left = not.map(({ id }) => id);
      await preview();
      return false;
    },
    lost: "Try again: revoking a key twice does no harm.",
  });
  send.disabled = true;
  preview().catch(({ message }) => show(body, h("p.error", { role: "alert" }, message, " Close this, and try again.")));
}

const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;

const command = (title, ...args) => h("details", h("summary", title), copyable(`curl ${args.filter(Boolean).join(" \\\n  ")}`, "the command"));

export const originOf = ({ allowedOrigins }) => allowedOrigins?.[0]?.replace("*", "www");

function secretDialog(title, plaintext, key, note) {
  const stay = (event) => event.preventDefault();
  addEventListener("beforeunload", stay);
  function finish() {
    removeEventListener("beforeunload", stay);
    element.replaceChildren();
    close();
  }
  const [retriever] = key.reached.results;
  const origin = originOf(key);
  const shown = copyable(plaintext, "the key");
  const back = button("Back", () => { sure.hidden = true; shown.lastChild.focus(); });
  const sure = h("p.note.warn.bar", { role: "alert", hidden: true }, "Nobody can show this key again.", back, button("Close without storing it", finish));
  const { element, close } = dialog(title, [
    h("p", bdi(nameOf(key)), ". ", h("b", "This is the only time that you can see it.")),
    shown, note && h("p", note),
    retriever && command("Try it", `-i ${quote(new URL(`v1/retrievers/${encodeURIComponent(retriever.id)}/authorize`, document.baseURI).href)}`,
      `-H "Authorization: Bearer ${plaintext}"`, origin && `-H ${quote(`Origin: ${origin}`)}`),
    sure, button("I have stored it", finish, ".primary"),
  ], { guard() { sure.hidden = false; back.focus(); } });
}

export function graphqlDialog(asked, openPlayground) {
  const shown = h("div");
  function fill() {
    const operation = asked[chosen.value][1];
    const { text: query, variables, namespace } = operation;
    show(shown, copyable(query, "the operation"), copyable(JSON.stringify(variables, null, 2), "the variables"),
      command("As a command", quote(endpoint(namespace)), `-H "Authorization: Bearer $RETRIEVERKEYS_KEY"`, "-H 'Content-Type: application/json'", `-d ${quote(JSON.stringify({ query, variables }))}`),
      button("Open in the playground", () => openPlayground(operation)));
  }
  const chosen = choice(Object.fromEntries(asked.map(([name], i) => [i, name])));
  chosen.ariaLabel = "Operation";
  chosen.addEventListener("change", fill);
  fill();
  dialog("This view as GraphQL", [chosen, shown], {});
}
