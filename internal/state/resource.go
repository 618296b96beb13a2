// SPDX-License-Identifier: Apache-2.0

package state

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"google.golang.org/protobuf/proto"
)

// Resource is one encoded message as it is stored and served. It is immutable.
type Resource struct {
	// Type is the type URL.
	Type string
	// Name is unique among the resources of a type that one subscriber can see.
	Name string
	// Version is the digest of Body (32 hexadecimal digits): equal content has
	// an equal version on every replica and after every restart.
	Version string
	// Body is the deterministic encoding of the message.
	Body []byte
}

// Delta is what changes of the resources of one type that somebody sees.
type Delta struct {
	Set []Resource
	// Removed are the names of those that are no more.
	Removed []string
}

// Encode makes a Resource of a message. Two messages of equal content give equal bytes.
func Encode(name string, m proto.Message) (Resource, error) {
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return Resource{}, fmt.Errorf("%s %q cannot be encoded: %w", ShortType(TypeURL(m)), name, err)
	}
	return Resource{Type: TypeURL(m), Name: name, Version: Digest(body), Body: body}, nil
}

// Digest is the version of an encoded message: the first half of its SHA-256, in
// hexadecimal. 128 bits make an accidental collision of two versions out of the question.
func Digest(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:16])
}
