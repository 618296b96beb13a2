// SPDX-License-Identifier: Apache-2.0

package birth

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	runtimev1 "sigs.k8s.io/cluster-api/api/runtime/v1beta2"

	"github.com/fairlead-io/fairlead/test/program"
)

// goMemory is what the operator gives the garbage collector in a container of 1 GiB
// (cmd/fairlead/operatorrun).
const goMemory = "819MiB"

// operator is one replica of the operator.
type operator struct {
	*program.Program
	h    *hub
	name string
	// address is where it answers hooks.
	address string
}

// operator makes a replica that does not run yet.
func (h *hub) operator(name string) *operator {
	h.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	h.must(err)
	h.must(l.Close()) // it was only asked for its port
	return &operator{h: h, name: name, address: l.Addr().String()}
}

// start starts the replica, with the rights of its chart and no others.
func (o *operator) start() {
	o.h.t.Helper()
	exe, err := operatorProgram()
	o.h.must(err)
	cmd := exec.Command(exe, "operator", "--health-address=0", "--metrics-address=0", "--log-format=text",
		"--leader-election-namespace=fairlead-system", "--hooks-address="+o.address, "--hooks-host=127.0.0.1")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+o.h.kubeconfig(), "GOMEMLIMIT="+goMemory)
	p, err := program.Start(o.name, filepath.Join(o.h.dir, o.name+".log"), cmd)
	o.h.must(err)
	o.Program = p
	o.h.t.Cleanup(func() {
		if o.Program != p {
			return // it was killed
		}
		if err := p.Stop(); err != nil {
			o.h.t.Error(err)
		}
		if o.h.t.Failed() {
			o.h.t.Logf("the last words of %s:\n%s", o.name, p.LastWords())
		}
	})
}

// kill ends the replica in whatever it does. It may be started again.
func (o *operator) kill() {
	o.h.t.Helper()
	o.h.must(o.Signal(syscall.SIGKILL))
	<-o.Ended()
	o.Program = nil
}

// kubeconfig is a file by which one is the operator's ServiceAccount.
func (h *hub) kubeconfig() string {
	h.t.Helper()
	path := filepath.Join(h.dir, "operator.kubeconfig")
	admin, err := h.server.AddUser("operators")
	h.must(err)
	cfg, err := clientcmd.Load(admin)
	h.must(err)
	as := h.server.Operator().Impersonate
	for _, user := range cfg.AuthInfos {
		user.Impersonate, user.ImpersonateGroups = as.UserName, as.Groups
	}
	h.must(clientcmd.WriteToFile(*cfg, path))
	return path
}

// announce tells Cluster API of the operator, as its chart does.
func (h *hub) announce(o *operator) {
	h.t.Helper()
	h.must(h.client.Create(h.t.Context(), &runtimev1.ExtensionConfig{
		ObjectMeta: metav1.ObjectMeta{Name: "fairlead"},
		Spec:       runtimev1.ExtensionConfigSpec{ClientConfig: runtimev1.ClientConfig{URL: "https://" + o.address}},
	}))
}
