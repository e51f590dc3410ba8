// Cosmo's composition. Its router is a binary that no package has, so nothing is started here.
import { federateSubgraphs, ROUTER_COMPATIBILITY_VERSION_ONE } from "@wundergraph/composition";
import { parse, printSchema } from "graphql";

export function compose(subgraphs) {
  const result = federateSubgraphs({
    subgraphs: subgraphs.map(({ name, url, sdl }) => ({ name, url, definitions: parse(sdl) })),
    version: ROUTER_COMPATIBILITY_VERSION_ONE,
  });
  if (!result.success) throw new AggregateError(result.errors, result.errors.map((e) => e.message).join("\n"));
  return printSchema(result.federatedGraphClientSchema);
}
