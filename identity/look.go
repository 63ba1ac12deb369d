package identity

import (
	"context"
	"fmt"

	"github.com/devid-agent/devid-agent/keys"
)

// OpenKey gives an identity of Look its key out of ks, for another program beside the agent. It changes nothing.
func (id *Identity) OpenKey(ctx context.Context, ks keys.Store) error {
	if !id.Certified() {
		return nil
	}
	if err := id.openKey(ctx, ks); err != nil {
		return fmt.Errorf("open key %s: %w", id.Key, err)
	}
	return nil
}
