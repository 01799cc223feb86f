//! As much of an API server as the operator needs: objects by path, resource versions, and a record of calls.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use kube::Client;
use kube::client::Body;
use ottla_plan::FIELD_MANAGER;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

/// An API server in memory.
#[derive(Default)]
pub struct ApiServer {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    calls: Vec<String>,
    version: u64,
    /// Writes to paths that end so are refused.
    refused: Option<String>,
    /// A node port that is still taken, and for how many writes, though its Service is gone.
    released_late: Option<(Value, u32)>,
    /// What a PodDisruptionBudget says to evictions, if it refuses them.
    budget: Option<String>,
}

impl ApiServer {
    /// A client of it.
    pub fn client(self: &Arc<Self>) -> Client {
        let server = self.clone();
        Client::new(
            tower::service_fn(move |request: Request<Body>| {
                let server = server.clone();
                async move { server.answer(request).await }
            }),
            "default",
        )
    }

    /// Puts an object there, as a person would.
    pub fn put(&self, path: &str, mut object: Value) {
        let mut state = self.state.lock();
        state.version += 1;
        if let Some(old) = state.objects.get(path) {
            let (new, own) = (object.clone(), object.pointer_mut("/metadata/managedFields/0/fieldsV1"));
            if let Some(fields) = own {
                taken_over(fields, old, &new);
            }
        }
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("00000000-0000-0000-0000-{:012}", state.version));
        }
        state.objects.insert(path.to_owned(), object);
    }

    /// Changes how an object is written, as the API server and its webhooks do: nobody takes a field over.
    pub fn rewrite(&self, path: &str, change: impl FnOnce(&mut Value)) {
        let mut state = self.state.lock();
        let (version, object) = (state.version + 1, state.objects.get_mut(path).expect("it is there"));
        change(object);
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        state.version = version;
    }

    /// Takes an object away, as a person would.
    pub fn remove(&self, path: &str) {
        self.state.lock().objects.remove(path).expect("it is there");
    }

    /// Every object whose path has this part.
    pub fn all(&self, part: &str) -> Vec<Value> {
        let state = self.state.lock();
        state
            .objects
            .iter()
            .filter(|(path, _)| path.contains(part))
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// One object.
    pub fn get(&self, path: &str) -> Option<Value> {
        self.state.lock().objects.get(path).cloned()
    }

    /// The calls since this was last asked, events left out.
    pub fn calls(&self) -> Vec<String> {
        let calls = std::mem::take(&mut self.state.lock().calls);
        calls.into_iter().filter(|call| call != "POST events").collect()
    }

    /// The reasons of the events that were published, in order.
    pub fn told(&self) -> Vec<String> {
        let mut events = self.all("/events/");
        events.sort_by_key(|event| event["eventTime"].as_str().unwrap_or_default().to_owned());
        events.iter().filter_map(|event| event["reason"].as_str().map(str::to_owned)).collect()
    }

    /// From now on refuses writes to paths that end so.
    pub fn refuse(&self, end: Option<&str>) {
        self.state.lock().refused = end.map(str::to_owned);
    }

    /// The next writes with this node port are refused: its Service is gone, the port not yet free.
    pub fn release_late(&self, port: i64, writes: u32) {
        self.state.lock().released_late = Some((port.into(), writes));
    }

    /// From now on a PodDisruptionBudget refuses evictions in these words, or no longer does.
    pub fn budget(&self, says: Option<&str>) {
        self.state.lock().budget = says.map(str::to_owned);
    }

    async fn answer(
        &self,
        request: Request<Body>,
    ) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
        let (parts, body) = request.into_parts();
        if parts.uri.query().is_some_and(|query| query.contains("watch=true")) {
            // Nothing changes for as long as a test watches.
            std::future::pending::<()>().await;
        }
        let body = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let is_merge =
            parts.headers.get("content-type").is_some_and(|t| t.as_bytes().ends_with(b"merge-patch+json"));
        let (code, answer) = self.state.lock().answer(
            &parts.method,
            parts.uri.path(),
            parts.uri.query().unwrap_or_default(),
            body,
            is_merge,
        );
        let response = Response::builder().status(code).header("content-type", "application/json");
        Ok(response.body(Full::from(answer.to_string())).expect("the parts are valid"))
    }
}

impl State {
    fn answer(
        &mut self,
        method: &Method,
        path: &str,
        query: &str,
        body: Value,
        is_merge: bool,
    ) -> (u16, Value) {
        let short = path.rsplit("/namespaces/shop/").next().unwrap_or(path);
        self.calls.push(format!("{method} {short}"));
        if *method != Method::GET && self.refused.as_deref().is_some_and(|end| path.ends_with(end)) {
            return failure(403, "forbidden by the test");
        }
        match *method {
            Method::GET if query.contains("fieldSelector") => (200, self.named(path, query)),
            Method::GET if is_list(path) => {
                let ours = |(at, _): &(&String, &Value)| {
                    at.rsplit_once('/').is_some_and(|(folder, _)| folder == path)
                };
                let items: Vec<&Value> = self.objects.iter().filter(ours).map(|(_, object)| object).collect();
                let metadata = json!({"resourceVersion": self.version.to_string()});
                (200, json!({"apiVersion": "v1", "kind": "List", "metadata": metadata, "items": items}))
            }
            Method::GET => {
                self.objects.get(path).map_or_else(|| failure(404, "not found"), |o| (200, o.clone()))
            }
            Method::DELETE => match self.objects.get(path) {
                None => failure(404, "not found"),
                Some(live) if !is_precondition_met(live, &body["preconditions"]) => {
                    failure(409, "another one")
                }
                Some(_) => (200, self.objects.remove(path).unwrap_or_default()),
            },
            Method::POST if path.ends_with("/eviction") => {
                self.evict(path.trim_end_matches("/eviction"), &body)
            }
            Method::POST => {
                let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                self.write(&format!("{path}/{name}"), body)
            }
            Method::PUT => {
                let seen = self.objects.get(path).map(|o| o["metadata"]["resourceVersion"].clone());
                if seen.is_some_and(|seen| seen != body["metadata"]["resourceVersion"]) {
                    return failure(409, "changed meanwhile");
                }
                self.write(path, body)
            }
            Method::PATCH => self.patch(path, body, is_merge),
            _ => failure(405, "not allowed"),
        }
    }

    fn evict(&mut self, pod: &str, body: &Value) -> (u16, Value) {
        let Some(live) = self.objects.get(pod) else { return failure(404, "not found") };
        let wanted = body.pointer("/deleteOptions/preconditions/uid");
        if wanted.is_some_and(|uid| *uid != live["metadata"]["uid"]) {
            return failure(409, "the UID in the precondition does not match the UID in record");
        }
        if let Some(says) = &self.budget {
            let (code, mut answer) =
                failure(429, "Cannot evict pod as it would violate a disruption budget.");
            answer["details"] = json!({"causes": [{"reason": "DisruptionBudget", "message": says}]});
            return (code, answer);
        }
        self.objects.remove(pod);
        (201, json!({"kind": "Status", "status": "Success"}))
    }

    // By name alone, as in `fieldSelector=metadata.name%3Ddemo`.
    fn named(&self, path: &str, query: &str) -> Value {
        let name = query.rsplit("%3D").next().unwrap_or_default();
        let items: Vec<&Value> = self.objects.get(&format!("{path}/{name}")).into_iter().collect();
        json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items})
    }

    fn patch(&mut self, path: &str, mut body: Value, is_merge: bool) -> (u16, Value) {
        if let Some(path) = path.strip_suffix("/status") {
            let Some(mut object) = self.objects.get(path).cloned() else { return failure(404, "not found") };
            if is_merge {
                merge(&mut object["status"], body["status"].clone());
            } else {
                object["status"] = body["status"].clone();
            }
            return self.write(path, object);
        }
        let (uid, version) = (body["metadata"]["uid"].take(), body["metadata"]["resourceVersion"].take());
        let fields = fields(&body);
        let found = self.objects.get(path);
        if found.is_none() && (is_merge || !uid.is_null()) {
            return failure(if is_merge { 404 } else { 409 }, "there is none");
        }
        let expected = json!({"uid": uid, "resourceVersion": version});
        if found.is_some_and(|live| !is_precondition_met(live, &expected)) {
            return failure(409, "changed meanwhile, or another one");
        }
        let mut object = found.cloned().unwrap_or_default();
        let kept = (object["metadata"]["uid"].clone(), object["metadata"]["resourceVersion"].clone());
        merge(&mut object, body);
        (object["metadata"]["uid"], object["metadata"]["resourceVersion"]) = kept;
        if !is_merge {
            let own = json!({"manager": FIELD_MANAGER, "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": fields});
            object["metadata"]["managedFields"] = json!([own]);
        }
        let finalized = object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
        if finalized && !object["metadata"]["deletionTimestamp"].is_null() {
            self.objects.remove(path);
            return (200, object);
        }
        self.write(path, object)
    }

    fn write(&mut self, path: &str, mut object: Value) -> (u16, Value) {
        if object["spec"]["type"] == "NodePort" {
            let port = &mut object["spec"]["ports"][0]["nodePort"];
            if port.is_null() {
                *port = json!(30_000 + self.version);
            }
            let has_it = |other: &Value| other["spec"]["ports"][0]["nodePort"] == *port;
            let late = self.released_late.as_mut().filter(|(late, left)| late == port && *left > 0);
            let is_late = late.map(|(_, left)| *left -= 1).is_some();
            if is_late || self.objects.iter().any(|(at, other)| at != path && has_it(other)) {
                return failure(
                    422,
                    "spec.ports[0].nodePort: Invalid value: provided port is already allocated",
                );
            }
        }
        let old = self.objects.get(path);
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid of {path}"));
        }
        object["metadata"]["resourceVersion"] =
            old.map(|o| o["metadata"]["resourceVersion"].clone()).unwrap_or_default();
        if old != Some(&object) {
            self.version += 1;
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
            self.objects.insert(path.to_owned(), object.clone());
        }
        (200, object)
    }
}

// What whoever applies this owns from then on; lists only as a whole.
fn fields(value: &Value) -> Value {
    let Value::Object(values) = value else { return json!({}) };
    let field = |(key, value): (&String, &Value)| (format!("f:{key}"), fields(value));
    Value::Object(values.iter().map(field).collect::<Map<_, _>>())
}

// Whoever gave a field another value has it from then on.
fn taken_over(fields: &mut Value, old: &Value, new: &Value) {
    let Some(fields) = fields.as_object_mut() else { return };
    fields.retain(|name, below| {
        let key = name.trim_start_matches("f:");
        taken_over(below, &old[key], &new[key]);
        old[key] == new[key] || below.as_object().is_some_and(|below| !below.is_empty())
    });
}

// As in …/namespaces/shop/pods.
fn is_list(path: &str) -> bool {
    path.split_once("/namespaces/").is_some_and(|(_, rest)| rest.matches('/').count() == 1)
}

// Whether an object has the uid and the resourceVersion that a request names, if it names them.
fn is_precondition_met(live: &Value, expected: &Value) -> bool {
    let is_met = |field: &str| expected[field].is_null() || expected[field] == live["metadata"][field];
    is_met("uid") && is_met("resourceVersion")
}

fn failure(code: u16, message: &str) -> (u16, Value) {
    (
        code,
        json!({"kind": "Status", "status": "Failure", "code": code, "message": message, "reason": if code == 404 { "NotFound" } else { "Other" }}),
    )
}

fn merge(into: &mut Value, new: Value) {
    match (into, new) {
        (Value::Object(into), Value::Object(new)) => {
            for (key, value) in new {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, new) => *into = new,
    }
}
