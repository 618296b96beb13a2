// SPDX-License-Identifier: Apache-2.0

package enroll

import (
	"context"
	"fmt"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// nodeNameExtra is where the API server reports the node of a token's pod.
const nodeNameExtra = "authentication.kubernetes.io/node-name"

// TokenReviewer asks by TokenReview.
type TokenReviewer struct {
	// Client needs the right to create tokenreviews.authentication.k8s.io.
	Client client.Client
}

// Review implements Reviewer.
func (r TokenReviewer) Review(ctx context.Context, token string) (Token, error) {
	tr := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{Audience}}}
	if err := r.Client.Create(ctx, tr); err != nil {
		return Token{}, err
	}
	if !tr.Status.Authenticated {
		return Token{}, fmt.Errorf("%w: %s", ErrTokenRefused, tr.Status.Error)
	}
	if !slices.Contains(tr.Status.Audiences, Audience) {
		return Token{}, fmt.Errorf("%w: it is for the audiences %q", ErrTokenRefused, tr.Status.Audiences)
	}
	t := Token{Username: tr.Status.User.Username}
	if v := tr.Status.User.Extra[nodeNameExtra]; len(v) == 1 {
		t.Node = v[0]
	}
	return t, nil
}
