// SPDX-License-Identifier: Apache-2.0

package load

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fairlead-io/fairlead/bpf"
)

// Pins are the places below a BPF file system.
type Pins struct {
	root   string
	layout int
}

// PinsBelow returns the places below a BPF file system's mount point, for maps of a layout.
func PinsBelow(bpffs string, layout int) Pins {
	return Pins{root: filepath.Join(bpffs, "fairlead"), layout: layout}
}

// Root is the directory of everything of ours, whatever its version.
func (p Pins) Root() string { return p.root }

// Host is the directory of what does not depend on the version of the maps.
func (p Pins) Host() string { return filepath.Join(p.root, "host") }

// Maps is the directory of the maps of this layout.
func (p Pins) Maps() string { return filepath.Join(p.root, "maps", fmt.Sprintf("v%d", p.layout)) }

// notes is the directory of the notes of flows via the stack, which have a version of
// their own: programs of two layouts share them while one takes over from the other.
func (p Pins) notes() string {
	return filepath.Join(p.root, "maps", fmt.Sprintf("notes-v%d", bpf.NotesVersion))
}

// translated is the directory of what tells how Services' connections are translated.
// Programs of two layouts share it too, or connections would not outlive the former one.
func (p Pins) translated() string {
	return filepath.Join(p.root, "maps", fmt.Sprintf("translated-v%d", bpf.TranslatedVersion))
}

// Of is the directory that a map is pinned in.
func (p Pins) Of(name string) string {
	switch name {
	case bpf.FromPodMapFlViaStack:
		return p.notes()
	case bpf.FromPodMapFlTranslations, bpf.FromPodMapFlAffinities, bpf.FromPodMapFlSockOrigins, bpf.FromPodMapFlUdpOrigins:
		return p.translated()
	}
	return p.Maps()
}

// Links is the directory of the attachments. They are of no version: a program of any
// layout is exchanged for one of another there.
func (p Pins) Links() string { return filepath.Join(p.root, "links") }

// Link is the pin of one attachment.
func (p Pins) Link(device, hook string) string { return filepath.Join(p.Links(), device+"_"+hook) }

// RemoveFormer removes the maps of other layouts. Programs that still use them keep them
// alive until they are exchanged.
func (p Pins) RemoveFormer() error {
	entries, err := os.ReadDir(filepath.Join(p.root, "maps"))
	if err != nil {
		return fmt.Errorf("pins: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if dir := filepath.Join(p.root, "maps", e.Name()); dir != p.Maps() && dir != p.notes() && dir != p.translated() {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}

// Make creates the directories.
func (p Pins) Make() error {
	for _, dir := range []string{p.Host(), p.Maps(), p.notes(), p.translated(), p.Links()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("pins: %w", err)
		}
	}
	return nil
}
