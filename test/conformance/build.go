// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/fairlead-io/fairlead/test/lab/atomicfile"
	"github.com/fairlead-io/fairlead/test/lab/build"
	"github.com/fairlead-io/fairlead/test/lab/image"
)

// The names by which the specs call the images of their pods; one image serves for all.
var imageNames = []string{
	"registry.k8s.io/e2e-test-images/agnhost:2.59",
	"registry.k8s.io/e2e-test-images/agnhost:2.45", // by network-policy-api's
	"registry.k8s.io/e2e-test-images/jessie-dnsutils:1.7",
	"registry.k8s.io/e2e-test-images/busybox:1.37.0-1",
	// Of these specs only want that they run.
	"registry.k8s.io/e2e-test-images/nginx:1.14-4",
	"registry.k8s.io/pause:3.10.1",
}

// links are names that a package's installation script would have made.
var links = map[string]string{"/agnhost-2": "agnhost", "/usr/bin/nc": "/bin/nc.openbsd", "/usr/bin/awk": "mawk"}

// basePackages are the programs that specs call in their pods, from the host's distribution.
var basePackages = []string{
	"bash", "bind9-dnsutils", "busybox", "ca-certificates", "coreutils", "curl", "dash", "grep", "hostname", "iproute2",
	"libc-bin", "mawk", "netcat-openbsd", "sed", "wget",
}

// testBinary builds the specs and returns the path of the program.
func testBinary(ctx context.Context, b build.Builder) (string, error) {
	module := filepath.Join(b.Checkout, "test", "conformance", "e2e")
	err := errors.Join(
		b.Ensure(ctx, build.Target{
			Name: "e2e specs", Dir: module, Sources: module, Hint: "about 3 minutes the first time",
			Flags: []string{"-ldflags=-s -w"}, Packages: map[string]string{"e2e.test": "."}, Test: true,
		}),
		b.Ensure(ctx, build.Target{
			Name: "agnhost", Dir: module, Sources: module, Hint: "seconds",
			Flags: []string{"-ldflags=-s -w"}, Packages: map[string]string{"agnhost": "k8s.io/kubernetes/test/images/agnhost"},
		}),
	)
	return filepath.Join(b.Bin(), "e2e.test"), err
}

// testImage packs the image of the specs' pods and returns the path of the archive.
func testImage(ctx context.Context, b build.Builder) (string, error) {
	base, err := rootFileSystem(ctx, b)
	if err != nil {
		return "", err
	}
	named := sha256.Sum256(fmt.Append(nil, imageNames, links)) // maps are printed in order
	archive, binary := filepath.Join(b.Dir(), "images", fmt.Sprintf("agnhost-%x.tar", named[:4])), filepath.Join(b.Bin(), "agnhost")
	if newest(archive, base, binary) {
		return archive, nil
	}
	return archive, b.Progress.Step("pack the specs' image", func() error {
		etc, err := os.MkdirTemp("", "fairlead-etc-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(etc)
		for name, content := range map[string]string{
			"passwd": "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
			"group":  "root:x:0:\nnogroup:x:65534:\n",
		} {
			if err := os.WriteFile(filepath.Join(etc, name), []byte(content), 0o644); err != nil {
				return err
			}
		}
		var out bytes.Buffer
		err = image.Write(&out, image.Spec{
			References: imageNames, Base: base, Entrypoint: []string{"/agnhost"}, Cmd: []string{"pause"},
			Files: map[string]string{"/agnhost": binary, "/etc/passwd": filepath.Join(etc, "passwd"), "/etc/group": filepath.Join(etc, "group")},
			Links: links,
		})
		if err != nil {
			return err
		}
		return atomicfile.Write(archive, out.Bytes(), 0o644)
	})
}

// rootFileSystem unpacks the base packages of the host's distribution, once.
func rootFileSystem(ctx context.Context, b build.Builder) (string, error) {
	release, err := distribution()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(release + strings.Join(basePackages, ",")))
	base := filepath.Join(b.Dir(), fmt.Sprintf("base-%x.tar", sum[:4]))
	if _, err := os.Stat(base); err == nil {
		return base, nil
	}
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		return "", errors.New("missing on this machine: mmdebstrap; install with: apt-get install -y mmdebstrap")
	}
	return base, b.Progress.Step("root file system of the specs' image, from "+release+" packages", func() error {
		temporary := base + ".new.tar"
		defer os.Remove(temporary)
		args := []string{
			"--variant=extract", "--include=" + strings.Join(basePackages, ","), "--components=" + components(),
			"--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
			release, temporary,
		}
		if out, err := exec.CommandContext(ctx, "mmdebstrap", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("mmdebstrap %s: %w\n%s", strings.Join(args, " "), err, out)
		}
		return os.Rename(temporary, base)
	})
}

// distribution is the host's code name, for example bookworm.
func distribution() (string, error) {
	raw, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(raw)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "VERSION_CODENAME="); ok {
			return strings.Trim(name, `"`), nil
		}
	}
	return "", errors.New("/etc/os-release has no VERSION_CODENAME: the specs' image is made on Debian and Ubuntu hosts")
}

// components: Ubuntu keeps some of the packages in universe, which Debian does not have.
func components() string {
	if raw, err := os.ReadFile("/etc/os-release"); err == nil && strings.Contains(string(raw), "\nID=ubuntu\n") {
		return "main,universe"
	}
	return "main"
}

func newest(file string, than ...string) bool {
	st, err := os.Stat(file)
	if err != nil {
		return false
	}
	for _, t := range than {
		if other, err := os.Stat(t); err != nil || other.ModTime().After(st.ModTime()) {
			return false
		}
	}
	return true
}
