import { CombinedGraphQLErrors, ServerError } from "@apollo/client/errors";
import { type ComponentProps, useId } from "react";

// Programs decide by the code. These codes have a sentence of this page's own; the API's messages say the rest.
const sentences: Record<string, string> = {
  UNAUTHENTICATED: "This API key is unknown, revoked or expired.",
  RATE_LIMITED: "There were too many requests. Wait a moment, then try again.",
  UNAVAILABLE: "The API is busy or down. Try again in a moment.",
  INTERNAL_SERVER_ERROR: "Something failed. The server's log says what.",
};

// problems returns what a person reads about an error: a sentence for each failure, and the argument that it is about, if any.
function problems(error: Error | undefined): { message: string; field?: string | undefined }[] {
  if (!error) return [];
  if (ServerError.is(error)) return [{ message: `The API answered with status ${error.statusCode}.` }];
  if (!CombinedGraphQLErrors.is(error)) return [{ message: "The API cannot be reached." }];
  return error.errors.map(({ message, extensions }) => ({
    message: sentences[String(extensions?.["code"])] ?? message,
    field: extensions?.["field"] as string | undefined,
  }));
}

// Problem shows an error, except for what is about the named fields: each Field shows its own.
export function Problem({ error, fields = [] }: { error: Error | undefined; fields?: string[] }) {
  const messages = problems(error).filter(({ field }) => !field || !fields.includes(field)).map(({ message }) => message);
  return messages.length > 0 && (
    <div role="alert">
      {[...new Set(messages)].map((message) => <p className="problem" key={message}>{message}</p>)}
    </div>
  );
}

// Field is an input with its label and with what the API says about the argument of this name.
export function Field({ label, error, name, ...input }: { label: string; error: Error | undefined; name: string } & ComponentProps<"input">) {
  const id = useId();
  const message = problems(error).find(({ field }) => field === name)?.message;
  const said = message?.startsWith(`${name} must`) ? `M${message.slice(name.length + 2)}` : message; // the label says which field
  return (
    <div className="field">
      <label>{label}<input {...input} name={name} autoComplete="off" aria-invalid={!!said} aria-describedby={said && id} /></label>
      {said && <p id={id} role="alert" className="problem">{said}</p>}
    </div>
  );
}
