//! The client of the API server. It counts what is asked in the words of RBAC, so that what is granted can be
//! compared with it, and tells every answer at once.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Method, Request};
use kube::client::ClientBuilder;
use kube::{Client, Config, Error};
use tower::{Layer, Service};

use crate::metrics::{Call, Metrics};

/// A client whose calls are counted in `metrics`.
///
/// It tries nothing again by itself, for minutes and by what was true when it began: reconciliations, watches
/// and the Lease do, each after a look at how things are by then.
///
/// # Errors
/// When there can be no connection by `config`.
pub fn client_of(mut config: Config, metrics: &Arc<Metrics>) -> Result<Client, Error> {
    config.default_retry = false;
    Ok(ClientBuilder::try_from(config)?.with_layer(&CountCalls(Arc::clone(metrics))).build())
}

/// Counts the calls of the client that it is laid over.
#[derive(Clone, Debug)]
pub struct CountCalls(pub Arc<Metrics>);

impl<S> Layer<S> for CountCalls {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, metrics: self.0.clone() }
    }
}

/// A client whose calls are counted.
#[derive(Clone, Debug)]
pub struct Counted<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Counted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        let query = request.uri().query().unwrap_or_default();
        if let Some(call) = call_of(request.method(), request.uri().path(), query) {
            self.metrics.calls.get_or_create(&call).inc();
        }
        self.inner.call(request)
    }
}

/// The call that a request is; none for what needs no rights, as discovery.
pub fn call_of(method: &Method, path: &str, query: &str) -> Option<Call> {
    let mut parts = path.trim_matches('/').split('/');
    let group = match parts.next()? {
        "api" => "",
        "apis" => parts.next()?,
        _ => return None,
    };
    parts.next()?;
    let rest: Vec<&str> = parts.collect();
    let rest = match rest.as_slice() {
        ["namespaces", _, resource @ ..] if !resource.is_empty() => resource,
        all => all,
    };
    let (resource, name, subresource) = (*rest.first()?, rest.get(1), rest.get(2));
    let verb = match *method {
        Method::GET if name.is_some() => "get",
        Method::GET if query.split('&').any(|pair| pair == "watch=true" || pair == "watch=1") => "watch",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => return None,
    };
    let resource = match subresource {
        Some(subresource) => format!("{resource}/{subresource}"),
        None => resource.to_owned(),
    };
    Some(Call { verb: verb.to_owned(), group: group.to_owned(), resource })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_in_the_words_of_rbac() {
        for (method, path, query, expected) in [
            ("GET", "/api/v1/namespaces/shop/services/a", "", "get  services"),
            ("GET", "/api/v1/pods", "labelSelector=a", "list  pods"),
            ("GET", "/api/v1/pods", "a=b&watch=true", "watch  pods"),
            ("GET", "/api/v1/nodes/n", "", "get  nodes"),
            (
                "PATCH",
                "/apis/apps/v1/namespaces/shop/statefulsets/a",
                "force=true",
                "patch apps statefulsets",
            ),
            (
                "PATCH",
                "/apis/ottla.dev/v1alpha1/namespaces/s/topics/a/status",
                "",
                "patch ottla.dev topics/status",
            ),
            ("POST", "/apis/events.k8s.io/v1/namespaces/s/events", "", "create events.k8s.io events"),
            ("DELETE", "/api/v1/namespaces/s/services/a", "", "delete  services"),
            (
                "PUT",
                "/apis/coordination.k8s.io/v1/namespaces/s/leases/l",
                "",
                "update coordination.k8s.io leases",
            ),
        ] {
            let call = call_of(&method.parse().unwrap(), path, query).unwrap();
            assert_eq!(format!("{} {} {}", call.verb, call.group, call.resource), expected);
        }
        assert_eq!(call_of(&Method::GET, "/version", ""), None);
    }
}
