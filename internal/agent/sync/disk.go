// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/fairlead-io/fairlead/internal/state"
)

// The state file is one header line, one length-delimited DeltaDiscoveryResponse
// per known type (exactly as a controller would send it), and the SHA-256 of all
// before it. The header carries the format's version and whose state it is: a node
// that joined another cluster must not start with the old one's.
const (
	stateFile    = "state.pb"
	addressFile  = "controllers.json"
	stateFormat  = "fairlead-agent-state v1"
	maxStateSize = 256 << 20
)

var errForeign = errors.New("it is of another node, cluster or format")

func stateHeader(cluster, node string) string {
	return fmt.Sprintf("%s cluster=%q node=%q\n", stateFormat, cluster, node)
}

// encodeState gives the same bytes for the same state.
func encodeState(cluster, node string, h *held) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(stateHeader(cluster, node))
	for _, typeURL := range state.AgentTypes {
		rows, ok := h.byType[typeURL]
		if !ok {
			continue
		}
		names := make([]string, 0, len(rows))
		for name := range rows {
			names = append(names, name)
		}
		slices.Sort(names)
		r := &discovery.DeltaDiscoveryResponse{TypeUrl: typeURL, Resources: make([]*discovery.Resource, 0, len(names))}
		for _, name := range names {
			r.Resources = append(r.Resources, &discovery.Resource{
				Name: name, Version: rows[name].version,
				Resource: &anypb.Any{TypeUrl: typeURL, Value: rows[name].body},
			})
		}
		if _, err := protodelim.MarshalTo(&b, r); err != nil {
			return nil, fmt.Errorf("the saved state cannot be encoded: %w", err)
		}
	}
	sum := sha256.Sum256(b.Bytes())
	b.Write(sum[:])
	return b.Bytes(), nil
}

// decodeState reads what encodeState wrote, and nothing else: whatever is not
// exactly that is an error.
func decodeState(cluster, node string, data []byte) (*held, error) {
	header := []byte(stateHeader(cluster, node))
	if len(data) < len(header)+sha256.Size {
		return nil, fmt.Errorf("it is cut off after %d bytes", len(data))
	}
	if !bytes.HasPrefix(data, header) {
		return nil, errForeign
	}
	body, sum := data[:len(data)-sha256.Size], data[len(data)-sha256.Size:]
	if want := sha256.Sum256(body); !bytes.Equal(want[:], sum) {
		return nil, errors.New("its checksum is wrong")
	}
	h := emptyHeld()
	r := bytes.NewReader(body[len(header):])
	for r.Len() > 0 {
		msg := &discovery.DeltaDiscoveryResponse{}
		if err := (protodelim.UnmarshalOptions{MaxSize: maxStateSize}).UnmarshalFrom(r, msg); err != nil {
			return nil, fmt.Errorf("a type cannot be decoded: %w", err)
		}
		next, err := h.with(msg)
		if err != nil {
			return nil, err
		}
		h = next
	}
	return h, nil
}

// readState reads the state file; a missing one is an empty state.
func readState(dir, cluster, node string) (*held, error) {
	f, err := os.Open(filepath.Join(dir, stateFile))
	if errors.Is(err, os.ErrNotExist) {
		return emptyHeld(), nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxStateSize+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxStateSize {
		return nil, fmt.Errorf("it is larger than %d bytes", maxStateSize)
	}
	return decodeState(cluster, node, data)
}

// writeAtomic replaces a file so that after a crash or a power cut there is either
// the old or the new content.
func writeAtomic(path string, data []byte, mode os.FileMode) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // a no-op once it is renamed
	err = f.Chmod(mode)
	if err == nil {
		_, err = f.Write(data)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// readAddresses reads the last known controller addresses. A file that cannot be
// used counts as none: the watched EndpointSlice brings them again.
func readAddresses(dir string) ([]string, error) {
	data, err := os.ReadFile(filepath.Join(dir, addressFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeAddresses(data)
}

func decodeAddresses(data []byte) ([]string, error) {
	var saved struct {
		Controllers []string `json:"controllers"`
	}
	if err := json.Unmarshal(data, &saved); err != nil {
		return nil, err
	}
	return cleanAddresses(saved.Controllers), nil
}

func writeAddresses(dir string, addresses []string) error {
	data, err := json.Marshal(map[string][]string{"controllers": addresses})
	if err != nil {
		return err
	}
	return writeAtomic(filepath.Join(dir, addressFile), append(data, '\n'), 0o600)
}
