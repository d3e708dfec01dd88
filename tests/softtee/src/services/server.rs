//! One listener for all services, in a thread of its own.
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::answer::{Answer, Asked};
use super::documents::Maker;
use super::{Faults, Kind, What};

/// Running services. Dropping them ends them.
#[derive(Debug)]
pub struct Services {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    faults: Faults,
    counts: HashMap<Kind, u64>,
    /// Certificates of chips that were made before: making one costs time, and they never change.
    made: HashMap<String, Answer>,
}

impl Services {
    /// Starts to serve.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn start(listen: SocketAddr, faults: Faults) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State { faults, ..State::default() }));
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let for_thread = Arc::clone(&state);
        let thread = thread::spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    () = serve(listener, for_thread) => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Self { address, state, stop: Some(stop), thread: Some(thread) })
    }

    /// Where they are.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS`
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on so much goes wrong.
    pub fn become_faulty(&self, faults: Faults) {
        lock(&self.state).faults = faults;
    }

    /// How many requests for documents of `kind` came.
    #[must_use]
    pub fn count(&self, kind: Kind) -> u64 {
        lock(&self.state).counts.get(&kind).copied().unwrap_or_default()
    }

    /// How many requests came in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        lock(&self.state).counts.values().sum()
    }

    /// Waits until they end, which by themselves they do not.
    pub fn wait(mut self) {
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: std::net::TcpListener, state: Arc<Mutex<State>>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&state), request));
            let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let metadata = request.headers().get("metadata").is_some_and(|value| value == "true");
    let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
    let Some(asked) = Asked::parse(&path, &query, metadata) else { return Ok(response(Answer::empty(404))) };
    let (fault, faults, known) = {
        let mut state = lock(&state);
        let count = state.counts.entry(asked.kind()).or_default();
        *count = count.saturating_add(1);
        let fault = state.faults.take(asked.kind());
        let known = state.made.get(request.uri().to_string().as_str()).filter(|_| fault.is_none()).cloned();
        (fault, state.faults.clone(), known)
    };
    if let Some(known) = known {
        return Ok(response(known));
    }
    if let Some(fault) = fault.filter(|fault| fault.what == What::Slow) {
        tokio::time::sleep(Duration::from_secs(fault.seconds)).await;
    }
    let now = OffsetDateTime::now_utc();
    let maker = Maker { what: fault.map(|fault| fault.what), faults, now };
    let answer = asked.answer(&maker, fault);
    if fault.is_none() && asked.kind() == Kind::Vcek {
        lock(&state).made.insert(request.uri().to_string(), answer.clone());
    }
    Ok(response(answer))
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let mut builder = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        builder = builder.header(name, value);
    }
    builder.body(Full::new(Bytes::from(answer.body))).unwrap_or_default()
}
