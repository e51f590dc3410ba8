package apikey

import (
	"cmp"
	"context"
	"slices"
)

// maxRotations bounds how far back BudgetOf looks. Keys that far apart are not in use at the same time.
const maxRotations = 100

// BudgetOf returns the hash of the key whose budget of requests k spends. A chain of rotations spends the budget of its first key,
// so that nobody renews a budget by rotating. Successors record that hash. Those that an older version made do not, and BudgetOf
// then looks up their predecessors.
func (s *Service) BudgetOf(ctx context.Context, k *Key) (hash string, err error) {
	for range maxRotations {
		if k.Budget != "" || k.RotatedFrom == nil {
			break
		}
		before, err := s.Store.CurrentKeys(ctx, k.InternalID, *k.RotatedFrom)
		if err != nil {
			return "", err
		}
		if len(before) == 0 {
			break
		}
		first := slices.MinFunc(before, byHash)
		k = &first
	}
	return cmp.Or(k.Budget, k.Hash), nil
}

// byHash orders keys that share an id. Imports and other programs may leave such keys.
func byHash(a, b Key) int { return cmp.Compare(a.Hash, b.Hash) }
