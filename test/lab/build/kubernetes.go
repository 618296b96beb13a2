// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/fairlead-io/fairlead/test/lab/atomicfile"
)

// programs are the names by which the Kubernetes binary is called.
var programs = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"}

// kubernetes is built from test/lab/kubernetes at the version that is pinned there; for any other
// version a module is made in the cache.
func (b Builder) kubernetes() (Target, error) {
	home := filepath.Join(b.Checkout, "test", "lab", "kubernetes")
	pinned, err := requiredVersion(filepath.Join(home, "go.mod"), "k8s.io/kubernetes")
	if err != nil {
		return Target{}, err
	}
	t := Target{
		Name: "Kubernetes " + b.Kubernetes, Dir: home, Sources: home, Hint: "5 to 10 minutes the first time",
		Flags: []string{"-ldflags=" + kubernetesLinkFlags(b.Kubernetes)}, Packages: map[string]string{"kubernetes": "."},
	}
	if b.Kubernetes != pinned {
		t.Dir = filepath.Join(b.Dir(), "kubernetes")
		t.prepare = func(ctx context.Context) error { return otherVersion(ctx, home, t.Dir, b.Kubernetes) }
	}
	return t, nil
}

// other builds another version of Kubernetes, and only from source: prebuilt binaries are of one version.
func (b Builder) other(version string) Builder {
	b.Kubernetes, b.Prebuilt, b.Also = version, "", nil
	return b
}

// BinOf is the folder of the binaries for machines of a version of Kubernetes, which is empty for that of the lab.
func (b Builder) BinOf(version string) string {
	if version == "" {
		return b.Bin()
	}
	return b.other(version).Bin()
}

// Has says whether a version of Kubernetes is one of those that this lab builds.
func (b Builder) Has(version string) bool {
	return version == b.Kubernetes || slices.Contains(b.Also, version)
}

// links gives the Kubernetes binary all its names.
func (b Builder) links() error {
	for _, name := range programs {
		link := filepath.Join(b.Bin(), name)
		if to, err := os.Readlink(link); err == nil && to == "kubernetes" {
			continue
		}
		_ = os.Remove(link)
		if err := os.Symlink("kubernetes", link); err != nil {
			return err
		}
	}
	return nil
}

// kubernetesLinkFlags sets the version that the binaries report; the build date is constant, so that
// equal sources make equal binaries.
func kubernetesLinkFlags(version string) string {
	major, minor, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	minor, _, _ = strings.Cut(minor, ".")
	flags := "-s -w"
	for _, kv := range []string{
		"gitVersion=" + version, "gitMajor=" + major, "gitMinor=" + minor, "gitTreeState=clean",
		"gitCommit=" + strings.Repeat("0", 40), "buildDate=1970-01-01T00:00:00Z",
	} {
		flags += " -X k8s.io/component-base/version." + kv
	}
	return flags
}

var staging = regexp.MustCompile(`(?m)^\t(k8s\.io/[a-z-]+) => \./staging/src/.*$`)

// otherVersion writes a module that builds another Kubernetes release. The release's own go.mod
// points its libraries at folders of its source tree; their published versions take that place.
func otherVersion(ctx context.Context, home, dir, version string) error {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", "k8s.io/kubernetes@"+version)
	cmd.Dir = os.TempDir()
	out, err := cmd.Output()
	var module struct{ GoMod, Error string }
	if jsonErr := json.Unmarshal(out, &module); jsonErr != nil || module.Error != "" || err != nil {
		return fmt.Errorf("LAB_KUBERNETES=%s cannot be downloaded: %s%w", version, module.Error, firstOf(err, jsonErr))
	}
	release, err := os.ReadFile(module.GoMod)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(dir, "go.mod"), otherGoMod(release, version), 0o644); err != nil {
		return err
	}
	main, err := os.ReadFile(filepath.Join(home, "main.go"))
	if err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(dir, "main.go"), main, 0o644); err != nil {
		return err
	}
	return run(ctx, dir, "go", "mod", "tidy")
}

func otherGoMod(release []byte, version string) []byte {
	var out bytes.Buffer
	fmt.Fprintln(&out, "module github.com/fairlead-io/fairlead/test/lab/kubernetes")
	for line := range strings.Lines(string(release)) {
		if strings.HasPrefix(line, "go ") || strings.HasPrefix(line, "godebug ") {
			out.WriteString(line)
		}
	}
	fmt.Fprintf(&out, "require k8s.io/kubernetes %s\nreplace (\n", version)
	for _, m := range staging.FindAllSubmatch(release, -1) {
		fmt.Fprintf(&out, "\t%s => %s v0.%s\n", m[1], m[1], strings.TrimPrefix(version, "v1."))
	}
	fmt.Fprintln(&out, ")")
	return out.Bytes()
}

// requiredVersion reads from a go.mod which version of a module it requires.
func requiredVersion(goMod, module string) (string, error) {
	raw, err := os.ReadFile(goMod)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(raw)) {
		words := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(words) >= 2 && words[0] == module && strings.HasPrefix(words[1], "v") {
			return words[1], nil
		}
	}
	return "", fmt.Errorf("%s does not require %s", goMod, module)
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("see `go mod download k8s.io/kubernetes`")
}
