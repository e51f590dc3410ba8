// Dialogs: creating, changing, rotating and revoking keys, the plaintext, and help.
import { Failure, ask } from "./api.js";
import { button, copyButton, h, options, say, show } from "./dom.js";
import { bdi, count, day, duration, isolate, nameOf, number, reach, time } from "./format.js";

let ids = 0;

// dialog opens a form. If act is given, it runs when the form is submitted, and what was typed stays if it fails: the error is shown beside
// the field that it is about. lost is what to say if there is no answer. guard is called instead of closing, if given.
function dialog(title, content, { fields = {}, submit, kind = ".primary", act, lost, guard, wide }) {
  const id = `dialog-${++ids}`;
  const trouble = h("p.error", { role: "alert", hidden: true });
  const send = submit && h(`button${kind}`, submit);
  const footer = h("footer", !guard && button(act ? "Cancel" : "Close", close), send);
  const form = h("form", { novalidate: true, onsubmit }, h("h2", { id }, title), content, Object.values(fields).map(({ element }) => element), trouble, footer);
  const element = h(wide ? "dialog.wide" : "dialog", { "aria-labelledby": id, closedby: "none" }, form);
  let done = false;

  function close() {
    done = true;
    element.close();
  }
  // At the second Escape, browsers close a dialog even if its cancel event is prevented. Preventing the key itself works.
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented) return;
    event.preventDefault();
    (guard ?? close)();
  });
  element.addEventListener("close", () => {
    if (!guard || done) return element.remove();
    element.showModal();
    guard();
  });

  async function onsubmit(event) {
    event.preventDefault();
    if (!act) return close();
    if (form.ariaBusy === "true") return;
    form.ariaBusy = "true";
    trouble.hidden = true;
    for (const field of Object.values(fields)) field.fail("");
    try {
      if (await act() !== false) close();
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure;
      const { code, field, message, requestId } = failure;
      if (fields[field]) return fields[field].fail(message, field);
      show(trouble, code === "LOST" ? lost : message, requestId && [" Request ", h("code", requestId)]);
      trouble.hidden = false;
    } finally {
      form.ariaBusy = "false";
    }
  }

  document.body.append(element);
  element.showModal();
  return { element, close, send };
}

// field is a labelled control with a hint and a place for its error.
function field(label, control, hint, more) {
  const id = `field-${++ids}`;
  const note = h("p.error", { id: `${id}-error`, hidden: true });
  control.id = id;
  control.setAttribute("aria-describedby", `${id}-hint ${id}-error`);
  return {
    control,
    element: h("div.field", h("label", { for: id }, label), control, more, hint && h("p.hint", { id: `${id}-hint` }, hint), note),
    // The API's message begins with the field's name, and with an index if it is a list.
    fail(message, name = "") {
      note.textContent = message.startsWith(name) ? message.replace(name, name && label).replace(/\[(\d+)\]/, (_, i) => ` ${Number(i) + 1}`) : message;
      note.hidden = !message;
      control.ariaInvalid = String(Boolean(message));
      if (message) control.focus();
    },
  };
}

const text = (value = "", more = {}) => h("input", { type: "text", autocomplete: "off", value, ...more });

// settings are the fields that creating and changing a key share. values() has no expiresAt if it stays as it is, or is the default.
function settings({ policy }, key) {
  const { defaultLifetimeSeconds: usual, maxLifetimeSeconds: most } = policy;
  const as = key ? `As it is: ${key.expiresAt ? day(key.expiresAt) : "never"}` : usual ? `After ${duration(usual)}, the default` : "";
  const ends = {
    ...as && { as },
    ...Object.fromEntries([7, 30, 90, 365].filter((days) => !most || days * 86_400 <= most).map((days) => [`${days} days`, `In ${days} days`])),
    ...!most && (key || !usual) && { never: "Never" },
    date: "On a date",
  };
  const date = h("input", { type: "date", "aria-label": "Last day", hidden: true });
  const end = h("select", { onchange: () => { date.hidden = end.value !== "date"; } }, options(ends, as ? "as" : "90 days"));
  const fields = {
    name: field("Name", text(key?.name), "Who or what uses it, such as “Storefront”."),
    description: field("Description", text(key?.description)),
    expiresAt: field("Expires", end, most && `At most ${duration(most)} from now.`, date),
    allowedOrigins: field("Origins",
      h("textarea", { rows: 2, spellcheck: "false", value: key?.allowedOrigins?.join("\n") ?? "", placeholder: "https://app.example.com" }),
      "Of web pages that may use it, one a line. https://*.example.com are all subdomains. Empty: any."),
    rateLimitOverride: field("Requests a minute", text(String(key?.rateLimitOverride ?? ""), { inputmode: "numeric" }), "Empty: the organization's limit."),
  };
  function values() {
    const [name, description, , origins, limit] = Object.values(fields).map(({ control }) => control.value.trim());
    if (!/^\d{0,9}$/.test(limit)) throw new Failure("", "must be a number.", { field: "rateLimitOverride" });
    const at = end.value === "date" ? new Date(`${date.value}T23:59:59`) : new Date(Date.now() + parseInt(end.value, 10) * 86_400_000);
    if (end.value === "date" && !date.value) throw new Failure("", "Choose a day.", { field: "expiresAt" });
    return {
      name, description, ...end.value !== "as" && { expiresAt: end.value === "never" ? null : at.toISOString() },
      allowedOrigins: origins.split(/[\s,]+/).filter(Boolean), rateLimitOverride: limit ? Number(limit) : null,
    };
  }
  return { fields, values };
}

export function createDialog({ places, namespaces, policy }, place, created) {
  const choices = namespaces.map(({ name, retrievers }) => h("optgroup", { label: isolate(name) }, retrievers.results.filter((retriever) => retriever.viewerCanCreateApiKey)
    .map((retriever) => h("option", { value: retriever.id }, isolate(retriever.name)))));
  if (place.canCreate) choices.unshift(h("option", { value: place.id, selected: true }, isolate(place.name)));
  const { fields, values } = settings({ policy });
  const all = { retrieverId: field("Retriever", h("select", choices), "The key executes it, and can do nothing else."), ...fields };
  const { element } = dialog("New key", null, {
    fields: all, submit: "Create the key",
    async act() {
      const { id, namespace } = places.get(all.retrieverId.control.value);
      const { createApiKey: made } = await ask("CreateKey", { input: { retrieverId: id, ...values() } }, { namespace: namespace.id });
      element.close();
      secretDialog("Your new key", made.key, made.apiKey);
      created();
    },
    lost: "There was no answer. The key may exist without its plaintext: look for it in the list, and revoke it before you create another.",
  });
  if (place.canCreate) fields.name.control.focus();
}

export function editDialog(app, key, changed) {
  const { fields, values } = settings(app, key);
  const before = { ...key, allowedOrigins: key.allowedOrigins ?? [] };
  dialog("Edit the key", null, {
    fields, submit: "Save",
    async act() {
      const input = Object.fromEntries(Object.entries(values()).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name])));
      if (Object.keys(input).length) await ask("UpdateKey", { input: { id: key.keyId, ...input } });
      say("Saved.");
      changed();
    },
    lost: "There was no answer. Try again: saving twice does no harm.",
  });
}

export function rotateDialog(app, key, rotated) {
  const overlap = field("The old key keeps working", h("select", options({
    "3600s": "for an hour", "86400s": "for a day", "604800s": "for 7 days", "2592000s": "for 30 days", "0s": "not at all: it stops at once",
  }, "86400s")), "Time to replace it where it is used.");
  dialog(["Rotate ", bdi(nameOf(key))], [
    h("p", "A new key takes its place, with the same name, reach, origins and limit. It belongs to you."),
    key.keyId === app.viewer.keyId && h("p.warning", "You are using this key now. Enter the new one here before the old one ends."),
  ], {
    fields: { overlapSeconds: overlap }, submit: "Rotate the key",
    async act() {
      const { rotateApiKey: made } = await ask("RotateKey", { input: { id: key.keyId, overlapSeconds: parseInt(overlap.control.value, 10) } });
      secretDialog("The new key", made.key, made.apiKey, made.previous.status === "ACTIVE" ? ["The old key works until ", time(made.previous.expiresAt), "."] : "The old key has stopped working.");
      rotated(made.apiKey);
    },
    lost: "There was no answer. If the key was rotated, the new plaintext is lost: look at the key first.",
  });
}

// revokeDialog asks the server what would happen, shows it, and then does it.
export function revokeDialog(app, ids, revoked) {
  const body = h("div", { role: "status" }, "Asking what would happen …");
  const reason = field("Reason", text(), "It is kept with the key and in the trail.");
  const sure = ids.length > 10 && field(`Type ${ids.length} to confirm`, text("", { inputmode: "numeric" }));
  let left = ids;
  const done = ["REVOKED", "ALREADY_REVOKED"];
  const list = (results, about) => h("ul.outcomes", results.slice(0, 8).map((result) => h("li", h("b", bdi(result.apiKey ? nameOf(result.apiKey) : result.id)), " ", h("span.hint", about(result)))),
    results.length > 8 && h("li.hint", `and ${number(results.length - 8)} more`));
  const why = ({ outcome, message }) => message || outcome.toLowerCase().replace("_", " ");

  const { send } = dialog("Revoke", body, {
    fields: { reason, ...sure && { sure } }, submit: "Revoke", kind: ".danger",
    async act() {
      if (sure && sure.control.value.trim() !== String(ids.length)) throw new Failure("", `Type ${ids.length}.`, { field: "sure" });
      const { revokeApiKeys: { results } } = await ask("RevokeKeys", { input: { ids: left, dryRun: false, ...reason.control.value.trim() && { reason: reason.control.value.trim() } } });
      const not = results.filter(({ outcome }) => !done.includes(outcome));
      left = not.filter(({ outcome }) => outcome === "UNAVAILABLE").map(({ id }) => id);
      const text = `${count(results.length - not.length, "key")} revoked.`;
      say(text);
      revoked();
      show(body, h("p", text, " Not these:"), list(not, why));
      send.textContent = "Go on";
      send.disabled = !left.length;
      return not.length === 0;
    },
    lost: "There was no answer. Try again: revoking a key twice does no harm.",
  });
  send.disabled = true;
  reason.control.focus();
  ask("RevokeKeys", { input: { ids, dryRun: true } }).then(({ revokeApiKeys: { results } }) => {
    const will = results.filter(({ outcome }) => outcome === "WOULD_REVOKE");
    const not = results.filter(({ outcome }) => outcome !== "WOULD_REVOKE");
    left = will.map(({ id }) => id);
    show(body,
      will.length > 0 && [h("p.warning", will.length === 1 ? [h("b", bdi(nameOf(will[0].apiKey))), " stops"] : `${number(will.length)} keys stop`, " working at once, everywhere, for good."),
        list(will, ({ apiKey }) => [reach(apiKey), ", last used ", time(apiKey.lastUsedAt)])],
      left.includes(app.viewer.keyId) && h("p.warning", "You are using one of them now, and will have to enter another."),
      not.length > 0 && [h("p", "Nothing happens to these:"), list(not, why)]);
    send.disabled = !will.length;
    send.textContent = will.length === 1 ? "Revoke the key" : `Revoke ${number(will.length)} keys`;
  }, ({ message }) => show(body, h("p.error", { role: "alert" }, message, " Close this, and try again.")));
}

const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;

// tryIt is a command that shows whether a retriever's key works.
function tryIt({ keyType, reached: { results: [retriever] }, allowedOrigins }, secret) {
  const origin = allowedOrigins ? ` \\\n  -H ${quote(`Origin: ${allowedOrigins[0].replace("*", "www")}`)}` : "";
  const endpoint = new URL(`v1/retrievers/${encodeURIComponent(retriever?.id)}/authorize`, document.baseURI).href;
  return retriever && keyType === "RETRIEVER" && `curl -i ${quote(endpoint)} \\\n  -H "Authorization: Bearer ${secret}"${origin}`;
}

// secretDialog shows a plaintext once. Only the person closes it, and nothing keeps the plaintext afterwards.
function secretDialog(title, secret, key, note) {
  const stay = (event) => event.preventDefault();
  addEventListener("beforeunload", stay);
  function finish() {
    removeEventListener("beforeunload", stay);
    secret = "";
    element.replaceChildren();
    close();
  }
  const command = tryIt(key, secret);
  const copy = copyButton(() => secret, "the key");
  const back = button("Back", () => { sure.hidden = true; copy.focus(); });
  const sure = h("div.warning", { role: "alert", hidden: true }, h("p", "Nobody can show this key again."), h("p.actions", back, button("Close without storing it", finish)));
  const { element, close } = dialog(title, [
    h("p", bdi(nameOf(key)), ". ", h("b", "This is the only time that you can see it.")),
    h("div.secret", h("code", secret), copy),
    note && h("p", note),
    command && h("details", h("summary", "Try it"), h("div.secret", h("code", command), copyButton(() => tryIt(key, secret), "the command"))),
    sure, button("I have stored it", finish, ".primary"),
  ], { wide: true, guard() { sure.hidden = false; back.focus(); } });
  copy.focus();
}

// graphqlDialog shows what the current view asked.
export function graphqlDialog(asked, openPlayground) {
  const shown = h("div");
  function fill() {
    const { text, variables } = asked[chosen.value][1];
    show(shown,
      h("pre", { tabindex: 0, "aria-label": "Operation" }, h("code", text)),
      h("pre", { tabindex: 0, "aria-label": "Variables" }, h("code", JSON.stringify(variables, null, 2))),
      h("p.actions", button("Open in the playground", () => openPlayground(asked[chosen.value][1])), copyButton(() => text, "the operation")));
  }
  const chosen = h("select", { "aria-label": "Operation", onchange: fill }, options(Object.fromEntries(asked.map(([name], i) => [i, name]))));
  if (asked.length) fill();
  dialog("This view as GraphQL", [h("p.hint", "The console can do nothing that the API cannot."), asked.length > 0 && [chosen, shown]], { wide: true });
}

export function helpDialog(on, set) {
  const box = h("input", { type: "checkbox", checked: on, onchange: () => set(box.checked) });
  const keys = { "/": "Search", "j k": "Next and previous row", Enter: "Open the key", x: "Select the row", n: "New key", Esc: "Close" };
  dialog("Keyboard", [h("dl.facts", Object.entries(keys).map(([key, what]) => [h("dt", h("kbd", key)), h("dd", what)])), h("label.check", box, " Single letters are shortcuts")], {});
}
