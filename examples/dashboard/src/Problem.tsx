import { CombinedGraphQLErrors, ServerError } from "@apollo/client/errors";

// problems returns the API's errors, each with a code for programs, a message for people, and the field that is wrong.
function problems(error: Error): { code: string; message: string; field?: string }[] {
  if (CombinedGraphQLErrors.is(error)) {
    return error.errors.map(({ message, extensions }) => ({
      code: String(extensions?.["code"] ?? "ERROR"),
      message,
      ...(typeof extensions?.["field"] === "string" && { field: extensions["field"] }),
    }));
  }
  if (ServerError.is(error)) return [{ code: `HTTP ${error.statusCode}`, message: "The API cannot be reached." }];
  return [{ code: "NETWORK", message: error.message }];
}

export function Problem({ error }: { error: Error | undefined }) {
  return error && (
    <div role="alert">
      {problems(error).map(({ code, message, field }, index) => (
        <p className="problem" key={index}><code>{code}</code> {message}{field && <> (<code>{field}</code>)</>}</p>
      ))}
    </div>
  );
}
