//! A folder of images, served as IMGAPI to imgadm, Triton and mibe, and as pages to people.
//!
//! The folder is that of the library: what builds leave there is offered at once. What is published to the server waits in
//! `.pending` until it is whole and activated. Nothing else is kept.

mod access;
mod change;
mod dsapi;
mod file;
mod index;
mod listener;
mod metrics;
mod pages;
mod query;
mod read;
mod refusal;
mod store;
mod write;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{ConnectInfo, Request, State as Shared};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use camino::{Utf8Path, Utf8PathBuf};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use self::access::{Access, Signed, Users, Who};
use self::metrics::Metrics;
use self::pages::facts::Facts;
use self::refusal::Refusal;
pub use self::store::Channel;
use self::store::Store;
use crate::error::Error;
use crate::http::Cancel;

/// What a server tells the one who runs it.
#[derive(Clone, Debug)]
pub enum Report {
    /// A request was answered.
    Answered {
        /// Who asked, if that is known.
        user: Option<String>,
        /// From where.
        address: SocketAddr,
        /// `GET`, …
        method: String,
        /// Path and query.
        target: String,
        /// The status of the answer.
        status: u16,
        /// Bytes of the answer, where they are known beforehand.
        length: Option<u64>,
        /// Until the answer began.
        time: Duration,
    },
    /// Something is not as it should be.
    Warning(String),
}

/// Who is told.
pub type Log = Arc<dyn Fn(Report) + Send + Sync>;

/// Who may change what is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writers {
    /// Nobody.
    Nobody,
    /// Programs on this machine; for servers on the loopback alone.
    Local,
    /// The users in a file: `name:HASH` with a bcrypt hash, or `name ssh-rsa KEY`.
    Users(Utf8PathBuf),
}

/// Bounds of a server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once from one address.
    pub connections_of_one: usize,
    /// Until the head of a request has come, also of the next one on a connection.
    pub head: Duration,
    /// In which something must come or go while a request is under way.
    pub silence: Duration,
    /// Bytes per second that an upload must have on average, and that a client must take of an answer.
    pub slowest: u64,
    /// How long running requests may go on once the server is to end.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1000,
            connections_of_one: 500,
            head: Duration::from_secs(20),
            silence: Duration::from_secs(60),
            slowest: 1024,
            grace: Duration::from_secs(30),
        }
    }
}

/// What a server is to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder of images.
    pub folder: Utf8PathBuf,
    /// Who may change it.
    pub writers: Writers,
    /// Its channels, the default one first; none for a server without.
    pub channels: Vec<Channel>,
    /// Its URL, where it is another one than that which clients ask for.
    pub url: Option<String>,
    /// Files of the certificates and of the private key, in PEM.
    pub tls: Option<(Utf8PathBuf, Utf8PathBuf)>,
    /// Its bounds.
    pub limits: Limits,
}

/// What all requests share.
struct App {
    store: Arc<Store>,
    access: Access,
    metrics: Metrics,
    facts: Facts,
    log: Log,
    url: Option<String>,
    scheme: &'static str,
    patience: Duration,
    slowest: u64,
}

impl App {
    /// The URL by which this server is asked, without a `/` at its end.
    fn url(&self, asked: &HeaderMap) -> String {
        if let Some(url) = &self.url {
            return url.clone();
        }
        let host = asked.get(header::HOST).and_then(|host| host.to_str().ok());
        let fits = |host: &&str| {
            let sign = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
            !host.is_empty() && host.bytes().all(sign)
        };
        format!("{}://{}", self.scheme, host.filter(fits).unwrap_or("HOST"))
    }
}

/// A server that can be run.
pub struct Server {
    listener: TcpListener,
    settings: Settings,
    app: Arc<App>,
    tls: Option<TlsAcceptor>,
}

impl Server {
    /// A server at an address, which is listened at from now on.
    ///
    /// # Errors
    ///
    /// The address is taken, or a file or the folder can't be read.
    pub fn new(listen: SocketAddr, settings: Settings, log: Log) -> Result<Self, Error> {
        let store = Store::new(
            &settings.folder,
            settings.channels.clone(),
            Arc::clone(&log),
        )?;
        let access = match &settings.writers {
            Writers::Nobody => Access::Nobody,
            Writers::Local => Access::Local,
            Writers::Users(path) => Access::Users(Box::new(Users::read(path)?)),
        };
        let tls = match &settings.tls {
            Some((certificates, key)) => Some(acceptor(certificates, key)?),
            None => None,
        };
        let listener = TcpListener::bind(listen)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(|error| Error::Listen {
                address: listen.to_string(),
                source: error,
            })?;
        let store = Arc::new(store);
        let app = Arc::new(App {
            facts: Facts::new(Arc::clone(&store)),
            store,
            access,
            metrics: Metrics::new(),
            log,
            url: settings
                .url
                .as_ref()
                .map(|url| url.trim_end_matches('/').to_owned()),
            scheme: if tls.is_some() { "https" } else { "http" },
            patience: settings.limits.silence,
            slowest: settings.limits.slowest,
        });
        Ok(Self {
            listener,
            settings,
            app,
            tls,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// The system does not tell.
    pub fn address(&self) -> Result<SocketAddr, Error> {
        self.listener.local_addr().map_err(|error| Error::Listen {
            address: "the address".to_owned(),
            source: error,
        })
    }

    /// How many images there are.
    pub fn images(&self) -> usize {
        self.app.store.current().entries.len()
    }

    /// Runs until it is ended from outside, and then as long as the limits let running requests go on.
    ///
    /// # Errors
    ///
    /// No threads can be had.
    pub fn run(self, cancel: &Cancel) -> Result<(), Error> {
        let failed = |source| Error::Listen {
            address: "the address".to_owned(),
            source,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let mut limits = self.settings.limits;
        limits.connections = limits.connections.min(most_connections());
        limits.connections_of_one = limits.connections_of_one.min(limits.connections);
        let router = router(Arc::clone(&self.app));
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(self.listener).map_err(failed)?;
            let (end, ended) = watch::channel(false);
            let serving = listener::serve(listener, self.tls, router, self.app, limits, ended);
            let serving = tokio::spawn(serving);
            while !cancel.is_set() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            // Whoever listens is told, or is gone.
            let _ = end.send(true);
            let _ = serving.await;
            Ok::<(), Error>(())
        })?;
        // Threads that read images for pages are not waited for.
        runtime.shutdown_timeout(Duration::from_secs(1));
        Ok(())
    }
}

/// Connections that the number of open files allows: each may have a file beside its own.
fn most_connections() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: now.maximum,
        maximum: now.maximum,
    };
    let _ = setrlimit(Resource::Nofile, raised);
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    (files.saturating_sub(64) / 2).clamp(8, 1 << 20) as usize
}

fn acceptor(certificates: &Utf8Path, key: &Utf8Path) -> Result<TlsAcceptor, Error> {
    let bad = |path: &Utf8Path, error: &dyn std::fmt::Display| {
        Error::usage(
            format!("can't use {path} for TLS: {error}"),
            &[
                "--tls-cert is a file of certificates in PEM, the server's own first, --tls-key the private key of that one",
            ],
        )
    };
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(certificates).and_then(Iterator::collect);
    let chain = chain.map_err(|error| bad(certificates, &error))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| bad(key, &error))?;
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(certificates, &error))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| bad(certificates, &error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/ping", get(read::ping))
        .route("/channels", get(read::channels))
        .route("/images", get(read::list).post(write::create))
        .route(
            "/images/{uuid}",
            get(read::get).post(write::post).delete(write::delete),
        )
        .route("/images/{uuid}/file", get(read::file).put(write::put_file))
        .route(
            "/images/{uuid}/icon",
            get(read::icon)
                .put(write::put_icon)
                .delete(write::delete_icon),
        )
        .route("/images/{uuid}/acl", post(write::acl))
        .route("/datasets", get(dsapi::list))
        .route("/datasets/{uuid}", get(dsapi::get))
        .route("/datasets/{uuid}/{file}", get(dsapi::file))
        .route("/metrics", get(figures))
        .merge(pages::routes())
        .fallback(nothing)
        .method_not_allowed_fallback(not_so)
        .layer(axum::middleware::from_fn_with_state(
            Arc::clone(&app),
            around,
        ))
        .with_state(app)
}

async fn figures(Shared(app): Shared<Arc<App>>) -> Response {
    let text = app.metrics.text(&*app.store.index().await);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn nothing(request: Request) -> Response {
    if pages::wants_page(request.headers()) {
        return pages::nothing();
    }
    Refusal::not_found(format!("{} does not exist", request.uri().path())).into_response()
}

async fn not_so(request: Request) -> Response {
    Refusal::new(
        405,
        "BadMethod",
        format!("{} is not for {}", request.uri().path(), request.method()),
    )
    .into_response()
}

/// What is around every request: who asks, what is counted, what is told of it.
async fn around(Shared(app): Shared<Arc<App>>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = request.method().clone();
    let target = request
        .uri()
        .path_and_query()
        .map_or_else(String::new, ToString::to_string);
    let address = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map(|info| info.0);
    let signed = Signed {
        method: method.as_str(),
        target: &target,
        headers: request.headers(),
    };
    let (mut response, user) = match app.access.who(&signed).await {
        Ok(who) => {
            let user = match &who {
                Who::User(name) => Some(name.clone()),
                _ => None,
            };
            request.extensions_mut().insert::<Who>(who);
            (next.run(request).await, user)
        }
        Err(refusal) => (refusal.into_response(), None),
    };
    let status = response.status();
    let headers = response.headers_mut();
    headers.insert(
        header::SERVER,
        HeaderValue::from_static(concat!("mibe/", env!("CARGO_PKG_VERSION"))),
    );
    // What one may see another may not.
    headers.insert(
        header::VARY,
        HeaderValue::from_static("authorization, accept-version"),
    );
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let time = begun.elapsed();
    app.metrics.answered(&method, status, time);
    if let Some(address) = address {
        (app.log)(Report::Answered {
            user,
            address,
            method: method.to_string(),
            target,
            status: status.as_u16(),
            length,
            time,
        });
    }
    response
}
