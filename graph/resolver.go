package graph

import "retrieverkeys/apikey"

// Resolver is the root of the resolvers.
type Resolver struct {
	Service *apikey.Service
	Version string
}
