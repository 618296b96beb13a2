// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/fairlead-io/fairlead/test/lab/atomicfile"
	"github.com/fairlead-io/fairlead/test/lab/image"
	"github.com/fairlead-io/fairlead/test/lab/kube"
)

// capiModule is the module whose CRDs the hub gets, at the version of the checkout's go.mod.
const capiModule = "sigs.k8s.io/cluster-api"

// images packs what is newer than its image.
func (b Builder) images() error {
	for name, ref := range map[string]string{"pause": kube.PauseImage, "coredns": kube.CoreDNSImage} {
		binary, archive := filepath.Join(b.Bin(), name), filepath.Join(b.Dir(), "images", name+".tar")
		if newer(archive, binary) {
			continue
		}
		var out bytes.Buffer
		spec := image.Spec{References: []string{ref}, Entrypoint: []string{"/" + name}, Files: map[string]string{name: binary}}
		if err := image.Write(&out, spec); err != nil {
			return err
		}
		if err := atomicfile.Write(archive, out.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func newer(file, than string) bool {
	a, errA := os.Stat(file)
	b, errB := os.Stat(than)
	return errA == nil && errB == nil && a.ModTime().After(b.ModTime())
}

// crds copies Cluster API's CRDs out of its module.
func (b Builder) crds(ctx context.Context) error {
	version, err := requiredVersion(filepath.Join(b.Checkout, "go.mod"), capiModule)
	if err != nil {
		return err
	}
	stamp := filepath.Join(b.CRDs(), "version")
	if have, err := os.ReadFile(stamp); err == nil && string(have) == version {
		return nil
	}
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", capiModule+"@"+version)
	cmd.Dir = b.Checkout
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot download %s@%s: %w\n%s", capiModule, version, err, out)
	}
	cmd = exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", capiModule)
	cmd.Dir = b.Checkout
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("cannot find the module %s: %w", capiModule, err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "core/config/crd/bases/cluster.x-k8s.io_*.yaml"))
	if err == nil && len(files) == 0 {
		err = errors.New("no CRDs in " + capiModule + "@" + version)
	}
	if err != nil {
		return err
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if err := atomicfile.Write(filepath.Join(b.CRDs(), filepath.Base(f)), raw, 0o644); err != nil {
			return err
		}
	}
	return atomicfile.Write(stamp, []byte(version), 0o644)
}
