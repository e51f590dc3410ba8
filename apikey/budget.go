package apikey

import (
	"cmp"
	"context"
	"slices"
)

// maxRotations limits how far back BudgetOf looks. Keys that far apart are not in use at the same time.
const maxRotations = 100

// BudgetOf returns the hash of the key whose request budget k uses. A chain of rotations uses the budget of its first key, so that
// rotating a key does not renew its budget. Successors store that hash. Keys that an older version rotated do not, and BudgetOf looks up
// their predecessors.
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

// byHash orders keys that share an id, which imports and other programs may leave behind.
func byHash(a, b Key) int { return cmp.Compare(a.Hash, b.Hash) }
