// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/internal/probe"
)

// Options are what the probes' objects need to know.
type Options struct {
	// Namespace that they are in.
	Namespace string
	// Image of Fairlead, and when nodes pull it.
	Image      string
	PullPolicy corev1.PullPolicy
	// APIServerHost and APIServerPort are where the API server is reached without a
	// Service: the Cluster's control plane endpoint.
	APIServerHost string
	APIServerPort int32
}

// selector tells the probes' pods from others.
func selector() map[string]string {
	return map[string]string{"app.kubernetes.io/name": "fairlead", "app.kubernetes.io/component": "probe"}
}

func (o Options) meta() metav1.ObjectMeta {
	labels := selector()
	labels["app.kubernetes.io/managed-by"] = "fairlead-operator"
	return metav1.ObjectMeta{Name: probe.Name, Namespace: o.Namespace, Labels: labels}
}

// Objects returns what runs the probes on every node of a cluster, complete for server-side
// apply, in the order in which to apply them. Deleting them removes the probes.
func Objects(o Options) []client.Object {
	return []client.Object{o.serviceAccount(), o.role(), o.roleBinding(), o.service(), o.networkPolicy(), o.daemonSet()}
}

func (o Options) serviceAccount() *corev1.ServiceAccount {
	return &corev1.ServiceAccount{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta: o.meta(),
	}
}

// role lets probes find one another, and nothing else.
func (o Options) role() *rbacv1.Role {
	return &rbacv1.Role{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "Role"},
		ObjectMeta: o.meta(),
		Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}, Verbs: []string{"get", "list", "watch"},
		}},
	}
}

func (o Options) roleBinding() *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "RoleBinding"},
		ObjectMeta: o.meta(),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: probe.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: probe.Name, Namespace: o.Namespace}},
	}
}

// service has an address to connect to, and slices that name every node's probe.
func (o Options) service() *corev1.Service {
	families := corev1.IPFamilyPolicyPreferDualStack
	return &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: o.meta(),
		Spec: corev1.ServiceSpec{
			Selector:       selector(),
			IPFamilyPolicy: &families,
			Ports: []corev1.ServicePort{
				{Name: "echo", Protocol: corev1.ProtocolUDP, Port: probe.EchoPort, TargetPort: intstr.FromInt32(probe.EchoPort)},
				{Name: "connect", Protocol: corev1.ProtocolTCP, Port: probe.ServicePort, TargetPort: intstr.FromInt32(probe.ServicePort)},
			},
		},
	}
}

// networkPolicy opens the ports that probes answer at, but for the one at which nothing may come.
func (o Options) networkPolicy() *networkingv1.NetworkPolicy {
	udp, tcp := corev1.ProtocolUDP, corev1.ProtocolTCP
	echo, connect := intstr.FromInt32(probe.EchoPort), intstr.FromInt32(probe.ServicePort)
	return &networkingv1.NetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: networkingv1.SchemeGroupVersion.String(), Kind: "NetworkPolicy"},
		ObjectMeta: o.meta(),
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: selector()},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress: []networkingv1.NetworkPolicyIngressRule{{
				Ports: []networkingv1.NetworkPolicyPort{{Protocol: &udp, Port: &echo}, {Protocol: &tcp, Port: &connect}},
			}},
		},
	}
}

// daemonSet has all pods replaced at a time: they serve nobody.
func (o Options) daemonSet() *appsv1.DaemonSet {
	all := intstr.FromString("100%")
	meta := o.meta()
	return &appsv1.DaemonSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "DaemonSet"},
		ObjectMeta: meta,
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: selector()},
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{
				Type:          appsv1.RollingUpdateDaemonSetStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxUnavailable: &all},
			},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: meta.Labels},
				Spec:       o.podSpec(),
			},
		},
	}
}

// podSpec is a pod like those of workloads, of which the strictest of Kubernetes' pod
// security standards approves.
func (o Options) podSpec() corev1.PodSpec {
	yes, no, nobody, grace := true, false, int64(65534), int64(1)
	return corev1.PodSpec{
		ServiceAccountName:            probe.Name,
		Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
		TerminationGracePeriodSeconds: &grace,
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: &yes, RunAsUser: &nobody, RunAsGroup: &nobody,
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Containers: []corev1.Container{{
			Name:            "probe",
			Image:           o.Image,
			ImagePullPolicy: o.PullPolicy,
			Command:         []string{"/fairlead-agent", "probe"},
			Env:             o.env(),
			Ports: []corev1.ContainerPort{
				{Name: "echo", ContainerPort: probe.EchoPort, Protocol: corev1.ProtocolUDP},
				{Name: "connect", ContainerPort: probe.ServicePort, Protocol: corev1.ProtocolTCP},
			},
			// Ready from the first report on. It is asked inside of the pod, and not
			// again: a network that fails must not take the peers from one another.
			StartupProbe: &corev1.Probe{
				ProbeHandler:     corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/fairlead-agent", "probe", "--started"}}},
				PeriodSeconds:    1,
				TimeoutSeconds:   5,
				FailureThreshold: 60,
			},
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("5m"), corev1.ResourceMemory: resource.MustParse("16Mi"),
			}},
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: &no,
				ReadOnlyRootFilesystem:   &yes,
				Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			},
		}},
	}
}

func (o Options) env() []corev1.EnvVar {
	field := func(name, path string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}}}
	}
	return []corev1.EnvVar{
		{Name: "KUBERNETES_SERVICE_HOST", Value: o.APIServerHost},
		{Name: "KUBERNETES_SERVICE_PORT", Value: strconv.Itoa(int(o.APIServerPort))},
		field("NODE_NAME", "spec.nodeName"),
		field("POD_NAMESPACE", "metadata.namespace"),
		field("POD_IPS", "status.podIPs"),
		{Name: "GOMEMLIMIT", Value: "16MiB"},
	}
}
