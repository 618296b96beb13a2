// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/apimachinery/pkg/watch"
	builtin "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	restwatch "k8s.io/client-go/rest/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// requestTimeout bounds a list, and how much longer than asked for a watch may last.
	requestTimeout = 30 * time.Second
	// pageSize is how many objects one request lists.
	pageSize = 500
	// maxStatus bounds what is read of an answer that is none.
	maxStatus = 64 << 10
)

// errRelist says that what was watched cannot be gone on with.
var errRelist = errors.New("the watch lost its place")

// codecs decode whole objects of the operator's scheme, and metadata.
type codecs struct{ whole, partial serializer.CodecFactory }

func newCodecs(scheme *runtime.Scheme) (*codecs, error) {
	metadata := runtime.NewScheme()
	metav1.AddToGroupVersion(metadata, schema.GroupVersion{Version: "v1"})
	if err := metav1.AddMetaToScheme(metadata); err != nil {
		return nil, err
	}
	return &codecs{serializer.NewCodecFactory(scheme), serializer.NewCodecFactory(metadata)}, nil
}

// wire asks one cluster's API server for objects.
type wire struct {
	http   *http.Client
	rest   *rest.RESTClient
	codecs *codecs
}

// newWire makes the wire of a cluster; it shares the cluster's TCP connection with all else.
func newWire(cfg *rest.Config, c *codecs) (*wire, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.Timeout = 0 // watches last
	cfg.NegotiatedSerializer = c.whole.WithoutConversion()
	h, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, err
	}
	r, err := rest.UnversionedRESTClientForConfigAndClient(cfg, h)
	if err != nil {
		return nil, err
	}
	return &wire{http: h, rest: r, codecs: c}, nil
}

// accept is in which form objects of a kind are wanted.
func (k kindKey) accept() string {
	switch {
	case k.partial:
		const as = ";as=%s;g=meta.k8s.io;v=v1"
		return "application/vnd.kubernetes.protobuf" + as + ",application/json" + as + ",application/json"
	case builtin.Scheme.Recognizes(k.gvk):
		return "application/vnd.kubernetes.protobuf,application/json"
	default:
		return "application/json"
	}
}

// negotiator chooses the decoder of an answer.
func (w *wire) negotiator(k kindKey) runtime.ClientNegotiator {
	if k.partial {
		return runtime.NewClientNegotiator(w.codecs.partial.WithoutConversion(), schema.GroupVersion{Group: "meta.k8s.io", Version: "v1"})
	}
	return runtime.NewClientNegotiator(w.codecs.whole.WithoutConversion(), k.gvk.GroupVersion())
}

// get sends a request and returns an answer of status 200, which the caller closes.
func (w *wire) get(ctx context.Context, p *part, form string, params map[string]string) (*http.Response, error) {
	r := p.key.resource()
	req := w.rest.Get()
	if r.Group == "" {
		req = req.AbsPath("api", r.Version)
	} else {
		req = req.AbsPath("apis", r.Group, r.Version)
	}
	if req = req.Resource(r.Resource); p.namespace != "" {
		req = req.Namespace(p.namespace)
	}
	for name, value := range params {
		req = req.Param(name, value)
	}
	if s := p.config.LabelSelector; s != nil {
		req = req.Param("labelSelector", s.String())
	}
	if s := p.config.FieldSelector; s != nil {
		req = req.Param("fieldSelector", s.String())
	}
	asked, err := http.NewRequestWithContext(ctx, http.MethodGet, req.URL().String(), nil)
	if err != nil {
		return nil, err
	}
	accept := p.key.accept()
	if p.key.partial {
		accept = fmt.Sprintf(accept, form, form)
	}
	asked.Header.Set("Accept", accept)
	answer, err := w.http.Do(asked)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode == http.StatusOK {
		return answer, nil
	}
	defer answer.Body.Close() //nolint:errcheck // it was read
	return nil, w.refused(p, answer)
}

// refused is the error that an answer amounts to.
func (w *wire) refused(p *part, answer *http.Response) error {
	raw, err := io.ReadAll(io.LimitReader(answer.Body, maxStatus))
	if err != nil {
		return err
	}
	r := p.key.resource().GroupResource()
	if answer.StatusCode == http.StatusNotFound { // a list that is empty is there
		return &meta.NoKindMatchError{GroupKind: p.key.gvk.GroupKind(), SearchedVersions: []string{p.key.gvk.Version}}
	}
	if o, _, err := w.codecs.whole.UniversalDeserializer().Decode(raw, nil, nil); err == nil {
		if s, ok := o.(*metav1.Status); ok && s.Status != metav1.StatusSuccess {
			return apierrors.FromObject(s)
		}
	}
	return apierrors.NewGenericServerResponse(answer.StatusCode, "get", r, "", "the API server gives no reason", 0, true)
}

// list reads all objects of a part, and the version that they are of. The error is a "no
// match" of package meta when the kind is not served.
func (w *wire) list(ctx context.Context, p *part) (map[client.ObjectKey]client.Object, string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	found, next := map[client.ObjectKey]client.Object{}, ""
	for {
		list, err := w.listPage(ctx, p, next)
		if err != nil {
			return nil, "", err
		}
		m, err := meta.ListAccessor(list)
		if err != nil {
			return nil, "", err
		}
		err = meta.EachListItemWithAlloc(list, func(item runtime.Object) error {
			o, ok := item.(client.Object)
			if !ok {
				return fmt.Errorf("a list of %s has an item of type %T", p.key.gvk.Kind, item)
			}
			o, err := p.kept(o)
			if err != nil {
				return err
			}
			found[client.ObjectKeyFromObject(o)] = o
			return nil
		})
		if err != nil {
			return nil, "", err
		}
		if next = m.GetContinue(); next == "" {
			return found, m.GetResourceVersion(), nil
		}
	}
}

func (w *wire) listPage(ctx context.Context, p *part, next string) (runtime.Object, error) {
	params := map[string]string{"limit": strconv.Itoa(pageSize)}
	if next != "" {
		params["continue"] = next
	}
	answer, err := w.get(ctx, p, "PartialObjectMetadataList", params)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close() //nolint:errcheck // it was read
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	mediaType, mediaParams, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	if err != nil {
		return nil, err
	}
	d, err := w.negotiator(p.key).Decoder(mediaType, mediaParams)
	if err != nil {
		return nil, err
	}
	return runtime.Decode(d, raw)
}

// watch asks for what happens to a part since the version that it is of.
func (w *wire) watch(ctx context.Context, p *part, last time.Duration) (*stream, error) {
	answer, err := w.get(ctx, p, "PartialObjectMetadata", map[string]string{
		"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": p.since(),
		"timeoutSeconds": strconv.Itoa(int(last.Seconds())),
	})
	if meta.IsNoMatchError(err) {
		return nil, errRelist
	}
	if err != nil {
		return nil, err
	}
	s, err := newStream(answer.Header.Get("Content-Type"), answer.Body, w.negotiator(p.key))
	if err != nil {
		return nil, errors.Join(err, answer.Body.Close())
	}
	return s, nil
}

// stream is the events of a watch.
type stream struct{ d *restwatch.Decoder }

func newStream(contentType string, body io.ReadCloser, n runtime.ClientNegotiator) (*stream, error) {
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, err
	}
	object, streamed, framer, err := n.StreamDecoder(mediaType, params)
	if err != nil {
		return nil, err
	}
	return &stream{restwatch.NewDecoder(streaming.NewDecoder(framer.NewFrameReader(body), streamed), object)}, nil
}

// Next waits for the next event. The error is io.EOF at the end.
func (s *stream) Next() (watch.EventType, client.Object, error) {
	kind, o, err := s.d.Decode()
	if err != nil {
		return "", nil, err
	}
	if kind == watch.Error {
		return "", nil, errors.Join(errRelist, apierrors.FromObject(o))
	}
	got, ok := o.(client.Object)
	if !ok {
		return "", nil, errors.Join(errRelist, fmt.Errorf("an event has an object of type %T", o))
	}
	return kind, got, nil
}

// Close ends the watch.
func (s *stream) Close() { s.d.Close() }
