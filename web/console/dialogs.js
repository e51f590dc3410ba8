// Dialogs: creating, changing, rotating and revoking keys, the plaintext, and help.
import { Failure, ask } from "./api.js";
import { copyButton, h, newId, say, show } from "./dom.js";
import { bdi, count, day, duration, nameOf, number, reach, time } from "./format.js";
import { placePicker } from "./picker.js";

// modal opens a dialog that is removed when it closes. closable is false while closing would lose something.
function modal(title, { closable = () => true, wide = false } = {}) {
  const heading = h("h2", { id: newId() }, title);
  const form = h("form", { novalidate: true }, heading);
  const dialog = h(wide ? "dialog.wide" : "dialog", { "aria-labelledby": heading.id, closedby: "none" }, form);
  let done = false;
  const close = () => { done = true; dialog.close(); };
  // Browsers close a dialog at the second Escape even if the cancel event is prevented, so the key itself is.
  dialog.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented) return;
    event.preventDefault();
    if (closable()) close();
  });
  dialog.addEventListener("cancel", (event) => { if (!closable()) event.preventDefault(); });
  dialog.addEventListener("close", () => {
    if (done || closable()) dialog.remove();
    else dialog.showModal();
  });
  document.body.append(dialog);
  return { dialog, form, close, open: () => dialog.showModal() };
}

const cancel = (close, text = "Cancel") => h("button", { type: "button", onclick: close }, text);

// field is a labelled control with a hint and a place for its error.
function field(label, control, hint, extra) {
  const id = control.id || newId();
  const note = hint && h("p.hint", { id: `${id}-hint` }, hint);
  const error = h("p.error", { id: `${id}-error`, hidden: true });
  control.id = id;
  control.setAttribute("aria-describedby", [note?.id, error.id].filter(Boolean).join(" "));
  const element = h("div.field", null, h("label", { for: id }, label), extra?.before, control.parentElement ?? control, extra?.after, note, error);
  return {
    element, control,
    set(message) {
      error.textContent = message;
      error.hidden = !message;
      if (message) control.setAttribute("aria-invalid", "true");
      else control.removeAttribute("aria-invalid");
    },
    // told puts the field's label where the API's message has its name.
    told: (name, message) => message.startsWith(name) ? label + message.slice(name.length).replace(/^\[(\d+)\]/, (_, i) => ` ${Number(i) + 1}`) : message,
  };
}

// onSubmit runs the action, keeps what was typed if it fails, and shows the error beside the field that it is about.
function onSubmit(form, fields, action, lost) {
  const trouble = h("p.error", { role: "alert", hidden: true });
  form.querySelector("footer").before(trouble);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (form.ariaBusy === "true") return;
    form.ariaBusy = "true";
    trouble.hidden = true;
    for (const f of Object.values(fields)) f.set("");
    try {
      await action();
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure;
      const wrong = fields[failure.field];
      if (wrong) {
        wrong.set(wrong.told(failure.field, failure.message));
        wrong.control.focus();
      } else {
        show(trouble, failure.code === "LOST" ? lost : failure.message, failure.requestId && h("small", null, " Request ", h("code", null, failure.requestId)));
        trouble.hidden = false;
      }
    } finally {
      form.ariaBusy = "false";
    }
  });
}

const dayLength = 86_400;

// expiry chooses an end. value() is undefined for "as it is" and null for "never".
function expiry(policy, current) {
  const { defaultLifetimeSeconds: usual, maxLifetimeSeconds: most } = policy ?? {};
  const choices = [];
  if (current !== undefined) choices.push(["", current ? `As it is: ${day(current)}` : "As it is: never"]);
  else if (usual) choices.push(["", `In ${duration(usual)}, the default`]);
  for (const days of [7, 30, 90, 365]) if (!most || days * dayLength <= most) choices.push([String(days), `In ${days === 365 ? "a year" : `${days} days`}`]);
  if (!most && !(current === undefined && usual) && current !== null) choices.push(["never", "Never"]);
  choices.push(["date", "On a date"]);
  const date = h("input", { type: "date", "aria-label": "Date of the end", hidden: true, min: new Date(Date.now() + dayLength * 1000).toISOString().slice(0, 10) });
  const select = h("select", { onchange: () => { date.hidden = select.value !== "date"; } }, choices.map(([value, text]) => h("option", { value }, text)));
  if (current === undefined && !usual && choices.some(([value]) => value === "90")) select.value = "90";
  return {
    field: field("Expires", select, most ? `At most ${duration(most)} from now.` : null, { after: date }),
    value() {
      if (select.value === "") return undefined;
      if (select.value === "never") return null;
      const end = select.value === "date" ? new Date(`${date.value}T23:59:59`) : new Date(Date.now() + select.value * dayLength * 1000);
      if (Number.isNaN(end.getTime())) throw new Failure("BAD_USER_INPUT", "Choose a date.", { field: "expiresAt" });
      return end.toISOString();
    },
  };
}

// settings are the fields that creating and changing a key have in common.
function settings(app, key) {
  const name = field("Name", h("input", { type: "text", maxlength: 100, value: key?.name ?? "", autocomplete: "off" }), "Who or what uses it, such as “Storefront”.");
  const description = field("Description", h("input", { type: "text", maxlength: 500, value: key?.description ?? "", autocomplete: "off" }));
  const end = expiry(app.policy, key ? key.expiresAt : undefined);
  const origins = field("Origins", h("textarea", { rows: 2, spellcheck: "false", value: key?.allowedOrigins?.join("\n") ?? "", placeholder: "https://app.example.com" }),
    "Web pages that may use it, one a line; https://*.example.com means all subdomains. Empty: any.");
  const limit = field("Requests a minute", h("input", { type: "number", min: 1, inputmode: "numeric", value: key?.rateLimitOverride ?? "" }), "Empty: the organization's limit.");
  return {
    fields: { name, description, expiresAt: end.field, allowedOrigins: origins, rateLimitOverride: limit },
    values: () => ({
      name: name.control.value.trim(),
      description: description.control.value.trim(),
      expiresAt: end.value(),
      allowedOrigins: origins.control.value.split(/[\s,]+/).filter(Boolean),
      rateLimitOverride: limit.control.value === "" ? null : Number(limit.control.value),
    }),
  };
}

const elements = (fields) => Object.values(fields).map((f) => f.element);

export function createDialog(app, retriever, created) {
  const { form, close, open } = modal("New key");
  let chosen = retriever;
  const where = h("div.picker");
  const box = placePicker(where, { label: "Retriever", app, choose: (_, picked) => { chosen = picked; } });
  if (chosen) box.value = chosen.name;
  box.addEventListener("input", () => { chosen = null; });
  const { fields, values } = settings(app, null);
  const all = { retrieverId: field("Retriever", box, "What the key executes. It can do nothing else."), ...fields };
  form.append(...elements(all), h("footer", null, cancel(close), h("button.primary", null, "Create the key")));
  onSubmit(form, all, async () => {
    if (!chosen) throw new Failure("BAD_USER_INPUT", "Choose a retriever from the list.", { field: "retrieverId" });
    const { createApiKey: made } = await ask("CreateKey", { input: { retrieverId: chosen.id, ...values() } }, { namespace: chosen.namespace.id });
    secretDialog("Your new key", made.key, made.apiKey);
    close();
    created(made.apiKey);
  }, "There was no answer. The key may exist, but its plaintext is lost: look for its name in the list, and revoke it before you create another.");
  open();
  (chosen ? all.name : all.retrieverId).control.focus();
}

export function editDialog(app, key, changed) {
  const { form, close, open } = modal("Change the key");
  const { fields, values } = settings(app, key);
  form.append(...elements(fields), h("footer", null, cancel(close), h("button.primary", null, "Save")));
  const before = { name: key.name, description: key.description, allowedOrigins: key.allowedOrigins ?? [], rateLimitOverride: key.rateLimitOverride };
  onSubmit(form, fields, async () => {
    const input = { id: key.keyId };
    for (const [name, value] of Object.entries(values())) {
      if (value !== undefined && JSON.stringify(value) !== JSON.stringify(before[name])) input[name] = value;
    }
    if (Object.keys(input).length > 1) await ask("UpdateKey", { input });
    close();
    say("Saved.");
    changed();
  }, "There was no answer, so it is not known whether the change was saved. Try again: saving it twice does no harm.");
  open();
}

const overlaps = [[3600, "for an hour"], [dayLength, "for a day"], [7 * dayLength, "for 7 days"], [30 * dayLength, "for 30 days"], [0, "not at all: it stops at once"]];

export function rotateDialog(app, key, rotated) {
  const { form, close, open } = modal(["Rotate ", bdi(nameOf(key))]);
  const overlap = field("The old key keeps working", h("select", { value: "" }, overlaps.map(([value, text]) => h("option", { value }, text))), "Time to put the new key where the old one is.");
  overlap.control.value = String(dayLength);
  form.append(
    h("p", null, "A new key takes its place, with the same name, reach, origins and limit. It belongs to you."),
    overlap.element,
    key.keyId === app.viewer.keyId && h("p.warning", null, "This is the key that you are using now. Enter the new one before the old one ends."),
    h("footer", null, cancel(close), h("button.primary", null, "Rotate the key")));
  onSubmit(form, { overlapSeconds: overlap }, async () => {
    const { rotateApiKey: made } = await ask("RotateKey", { input: { id: key.keyId, overlapSeconds: Number(overlap.control.value) } });
    secretDialog("The new key", made.key, made.apiKey,
      made.previous.status === "ACTIVE" ? ["The old key works until ", time(made.previous.expiresAt), "."] : "The old key has stopped working.");
    close();
    rotated(made.apiKey);
  }, "There was no answer. The key may have been rotated, and the new plaintext is lost: look at the key's trail before you go on.");
  open();
}

const outcomes = {
  REVOKED: "revoked", WOULD_REVOKE: "will be revoked", ALREADY_REVOKED: "revoked before", NOT_FOUND: "not found", FORBIDDEN: "not permitted", UNAVAILABLE: "not done yet",
};

// revokeDialog first asks the server what would happen, shows it, and then does it.
export async function revokeDialog(app, ids, revoked) {
  const { form, close, open } = modal(ids.length === 1 ? "Revoke the key" : `Revoke ${count(ids.length, "key")}`);
  const body = h("div", { "aria-live": "polite" }, h("p", null, "Asking the server what would happen …"));
  const reason = field("Reason", h("input", { type: "text", maxlength: 200, autocomplete: "off", placeholder: "Optional, such as “left the company”" }), "It is kept with the key and in the trail.");
  const sure = field(`Type ${ids.length} to confirm`, h("input", { type: "text", inputmode: "numeric", autocomplete: "off" }));
  const button = h("button.danger", { disabled: true }, ids.length === 1 ? "Revoke the key" : `Revoke ${count(ids.length, "key")}`);
  form.append(body, reason.element, ids.length > 10 && sure.element, h("footer", null, cancel(close), button));
  let left = ids;
  const ended = () => left.length === 0;

  function list(results) {
    const shown = results.slice(0, 8);
    return h("ul.outcomes", null, shown.map(({ id, apiKey, outcome, message }) => h("li", null,
      h("b", null, bdi(apiKey ? nameOf(apiKey) : id)), " ",
      outcome === "WOULD_REVOKE" && apiKey ? h("span.hint", null, reach(apiKey), " · last used ", time(apiKey.lastUsedAt)) : h("span.hint", null, message || outcomes[outcome]))),
    results.length > shown.length && h("li.hint", null, `and ${number(results.length - shown.length)} more`));
  }

  onSubmit(form, { reason, sure }, async () => {
    if (ids.length > 10 && sure.control.value.trim() !== String(ids.length)) throw new Failure("BAD_USER_INPUT", `Type ${ids.length}.`, { field: "sure" });
    const input = { ids: left, reason: reason.control.value.trim() || undefined, dryRun: false };
    const { revokeApiKeys: { results } } = await ask("RevokeKeys", { input });
    left = results.filter(({ outcome }) => outcome === "UNAVAILABLE").map(({ id }) => id);
    const refused = results.filter(({ outcome }) => !["REVOKED", "ALREADY_REVOKED"].includes(outcome));
    say(`${count(results.length - refused.length, "key")} revoked.`);
    revoked();
    if (!refused.length) return close();
    show(body, h("p", null, `${count(results.length - refused.length, "key")} revoked. ${ended() ? "These were not:" : "These are left:"}`), list(refused));
    if (ended()) button.hidden = true;
    else button.textContent = "Go on";
  }, "There was no answer, so it is not known which keys were revoked. Try again: revoking a key twice does no harm.");
  open();
  reason.control.focus();
  try {
    const { revokeApiKeys: { results } } = await ask("RevokeKeys", { input: { ids, dryRun: true } });
    const will = results.filter(({ outcome }) => outcome === "WOULD_REVOKE");
    const not = results.filter(({ outcome }) => outcome !== "WOULD_REVOKE");
    left = will.map(({ id }) => id);
    show(body,
      will.length > 0 && h("p.warning", null, will.length === 1 ? [h("b", null, bdi(nameOf(will[0].apiKey))), " stops working at once, everywhere, for good."] : `${number(will.length)} keys stop working at once, everywhere, for good.`),
      will.length > 0 && list(will),
      left.includes(app.viewer.keyId) && h("p.warning", null, "One of them is the key that you are using now. You will be signed out."),
      not.length > 0 && h("p", null, will.length ? "Nothing happens to these:" : "Nothing would happen:"), not.length > 0 && list(not));
    button.disabled = will.length === 0;
    if (will.length) button.textContent = will.length === 1 ? "Revoke the key" : `Revoke ${count(will.length, "key")}`;
  } catch (failure) {
    show(body, h("p.error", { role: "alert" }, failure.message, " Close this, and try again."));
  }
}

const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;

// tryIt is a command that shows that the key works, or nothing if there is none.
function tryIt(key, secret) {
  const header = `-H "Authorization: Bearer ${secret}"`;
  if (key.keyType !== "RETRIEVER") {
    return `curl -s ${new URL("graphql", document.baseURI)} ${header} \\\n  -H "Content-Type: application/json" -d '{"query":"{ viewer { keyId permissions } }"}'`;
  }
  const [retriever] = key.reached.results;
  if (!retriever) return "";
  const origin = key.allowedOrigins ? ` \\\n  -H ${quote(`Origin: ${key.allowedOrigins[0].replace("*", "www")}`)}` : "";
  return `curl -i ${new URL(`v1/retrievers/${encodeURIComponent(retriever.id)}/authorize`, document.baseURI)} \\\n  ${header}${origin}`;
}

// secretDialog shows a plaintext once. Nothing closes it but the person who says so, and nothing keeps the plaintext afterwards.
export function secretDialog(title, secret, key, note) {
  const { dialog, form, close, open } = modal(title, {
    wide: true,
    closable() {
      sure.hidden = false;
      back.focus();
      return false;
    },
  });
  const stay = (event) => event.preventDefault();
  addEventListener("beforeunload", stay);
  const finish = () => {
    removeEventListener("beforeunload", stay);
    dialog.replaceChildren();
    secret = "";
    close();
  };
  const back = h("button", { type: "button", onclick: () => { sure.hidden = true; copy.focus(); } }, "Back");
  const sure = h("div.warning", { hidden: true, role: "alert" }, h("p", null, "Nobody can show this key again. Without it, you have to create another."),
    h("p", null, back, " ", h("button", { type: "button", onclick: finish }, "Close without storing it")));
  const copy = copyButton(() => secret, "the key");
  const command = tryIt(key, secret);
  form.append(
    h("p", null, bdi(nameOf(key)), key.keyType === "RETRIEVER" && [" executes ", reach(key)], ". ", h("b", null, "This is the only time that you can see its plaintext.")),
    h("div.secret", null, h("code", { "aria-label": "Plaintext" }, secret), copy),
    note && h("p", null, note),
    command && h("details", null, h("summary", null, "Try it"),
      h("div.secret", null, h("pre", { tabindex: 0, "aria-label": "Command" }, h("code", null, command)), copyButton(() => tryIt(key, secret), "the command")),
      key.keyType === "RETRIEVER" && h("p.hint", null, "Answers 200 if the key may execute the retriever.")),
    sure,
    h("footer", null, h("button.primary", { type: "button", onclick: finish }, "I have stored it")));
  form.addEventListener("submit", (event) => event.preventDefault());
  open();
  copy.focus();
}

// graphqlDialog shows what the current view asked.
export function graphqlDialog(asked, openPlayground) {
  const { form, close, open } = modal("This view as GraphQL", { wide: true });
  const shown = h("div");
  const choose = h("select", { "aria-label": "Operation", onchange: fill }, asked.map(([name], i) => h("option", { value: i }, name)));
  function fill() {
    const { text, variables, namespace } = asked[choose.value][1];
    const url = new URL("graphql", document.baseURI);
    if (namespace) url.searchParams.set("namespace", namespace);
    const command = `curl -s ${quote(String(url))} -H "Authorization: Bearer $KEY" \\\n  -H "Content-Type: application/json" -d ${quote(JSON.stringify({ query: text, variables }))}`;
    show(shown,
      h("pre", { tabindex: 0, "aria-label": "Operation" }, h("code", null, text)),
      Object.keys(variables).length > 0 && h("pre", { tabindex: 0, "aria-label": "Variables" }, h("code", null, JSON.stringify(variables, null, 2))),
      h("p.buttons", null, copyButton(() => text, "the operation"), " ", h("span", null, "as curl: ", copyButton(() => command, "a curl command")), " ",
        h("button", { type: "button", onclick: () => openPlayground(asked[choose.value][1]) }, "Open in the playground")));
  }
  form.append(
    h("p.hint", null, "This page can do nothing that the API cannot."),
    asked.length ? [choose, shown] : h("p", null, "This view has asked nothing yet."),
    h("footer", null, h("button", { type: "button", onclick: close }, "Close")));
  if (asked.length) fill();
  open();
}

const keysOfKeyboard = [["/", "Search"], ["j, k", "Next and previous row"], ["Enter", "Open the key"], ["x", "Select the row"], ["n", "New key"], ["Esc", "Close"], ["?", "This list"]];

export function helpDialog(on, set) {
  const { form, close, open } = modal("Keyboard");
  const box = h("input", { type: "checkbox", checked: on, onchange: () => set(box.checked) });
  form.append(
    h("table.shortcuts", null, h("tbody", null, keysOfKeyboard.map(([key, what]) => h("tr", null, h("th", { scope: "row" }, key.split(", ").map((k, i) => [i > 0 && " ", h("kbd", null, k)])), h("td", null, what))))),
    h("label.check", null, box, " Single letters are shortcuts"),
    h("footer", null, h("button", { type: "button", onclick: close }, "Close")));
  form.addEventListener("submit", (event) => { event.preventDefault(); close(); });
  open();
}

