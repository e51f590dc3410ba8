// Cosmo's composition. It creates the configuration of Cosmo's router, as `wgc router compose` does. The router itself is not on npm, so it is
// not run here.
import { federateSubgraphs, ROUTER_COMPATIBILITY_VERSION_ONE } from "@wundergraph/composition";
import { buildRouterConfig, SubgraphKind } from "@wundergraph/cosmo-shared";
import { parse, printSchema } from "graphql";

export function compose(subgraphs) {
  const result = federateSubgraphs({
    subgraphs: subgraphs.map(({ name, url, sdl }) => ({ name, url, definitions: parse(sdl) })),
    version: ROUTER_COMPATIBILITY_VERSION_ONE,
  });
  if (!result.success) throw new AggregateError(result.errors, result.errors.map((e) => e.message).join("\n"));
  return buildRouterConfig({
    federatedClientSDL: printSchema(result.federatedGraphClientSchema),
    federatedSDL: printSchema(result.federatedGraphSchema),
    fieldConfigurations: result.fieldConfigurations,
    routerCompatibilityVersion: ROUTER_COMPATIBILITY_VERSION_ONE,
    schemaVersionId: "",
    subgraphs: subgraphs.map(({ name, url, sdl }) => ({
      kind: SubgraphKind.Standard, id: name, name, url, sdl, subscriptionUrl: url, ...result.subgraphConfigBySubgraphName.get(name),
    })),
  }).toJson();
}
