//! Connections: bounded in number and in time, ended in order.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;
use tower_service::Service as _;

use super::store::lock;
use super::{App, Limits};

/// Largest head of a request, in bytes.
const HEAD: usize = 64 << 10;
/// How long to wait after a failure to accept, which is most often that there are too many files open.
const PAUSE: Duration = Duration::from_millis(100);

/// Who counts as connected.
struct Place {
    _one_of_all: OwnedSemaphorePermit,
    app: Arc<App>,
    address: IpAddr,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = lock(&self.by_address);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
        self.app.metrics.connections.dec();
    }
}

/// Takes connections until `end` becomes true; then waits for what runs, as long as the limits say.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    app: Arc<App>,
    limits: Limits,
    mut end: watch::Receiver<bool>,
) {
    let all = Arc::new(Semaphore::new(limits.connections));
    let by_address = Arc::new(Mutex::new(HashMap::new()));
    let mut running = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = end.wait_for(|end| *end) => break,
        };
        while running.try_join_next().is_some() {}
        let Ok((stream, address)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let Some(place) = place(&app, &all, &by_address, address.ip(), &limits) else {
            app.metrics.refused_connections.inc();
            continue;
        };
        // Answers are written whole; nothing is gained by waiting for more.
        let _ = stream.set_nodelay(true);
        let (router, tls, end) = (router.clone(), tls.clone(), end.clone());
        running.spawn(async move {
            let _place = place;
            match tls {
                None => connection(stream, address, router, &limits, end).await,
                Some(tls) => {
                    let shaken = tokio::time::timeout(limits.head, tls.accept(stream)).await;
                    if let Ok(Ok(stream)) = shaken {
                        connection(stream, address, router, &limits, end).await;
                    }
                }
            }
        });
    }
    drop(listener);
    let ended = async { while running.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(limits.grace, ended).await;
    // What goes on after that is broken off with the runtime.
}

fn place(
    app: &Arc<App>,
    all: &Arc<Semaphore>,
    by_address: &Arc<Mutex<HashMap<IpAddr, usize>>>,
    address: IpAddr,
    limits: &Limits,
) -> Option<Place> {
    let one_of_all = Arc::clone(all).try_acquire_owned().ok()?;
    let mut counts = lock(by_address);
    let count = counts.entry(address).or_insert(0);
    if *count >= limits.connections_of_one {
        return None;
    }
    *count += 1;
    app.metrics.connections.inc();
    Some(Place {
        _one_of_all: one_of_all,
        app: Arc::clone(app),
        address,
        by_address: Arc::clone(by_address),
    })
}

async fn connection<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    address: SocketAddr,
    router: Router,
    limits: &Limits,
    mut end: watch::Receiver<bool>,
) {
    let busy = Arc::new(AtomicUsize::new(0));
    let stream = Patient {
        inner: stream,
        busy: Arc::clone(&busy),
        patience: limits.silence,
        deadline: Box::pin(tokio::time::sleep(limits.silence)),
        slowest: limits.slowest,
        taking: None,
    };
    let service =
        hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let mut router = router.clone();
            let work = Busy::new(&busy);
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(address));
            async move {
                let answer = router.call(request).await;
                drop(work);
                answer
            }
        });
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD)
        .half_close(false);
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // Whatever ends a connection early is the client's affair.
        _ = connection.as_mut() => return,
        _ = end.wait_for(|end| *end) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Counts what is at work.
struct Busy(Arc<AtomicUsize>);

impl Busy {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A connection that fails when nothing has come or gone for a while, but for when the server is at work itself.
struct Patient<S> {
    inner: S,
    busy: Arc<AtomicUsize>,
    patience: Duration,
    deadline: Pin<Box<Sleep>>,
    /// Bytes per second that a client must take on average, where it is it that is waited for.
    slowest: u64,
    /// Since when a client has been taking an answer, and how much it took.
    taking: Option<(Instant, u64)>,
}

impl<S> Patient<S> {
    fn check<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.again();
            return polled;
        }
        while self.deadline.as_mut().poll(context).is_ready() {
            if self.busy.load(Ordering::SeqCst) == 0 {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.again();
        }
        Poll::Pending
    }

    /// The same for what goes out: a byte now and then keeps no connection for ever.
    fn sent(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let now = Instant::now();
        match (&polled, &mut self.taking) {
            (Poll::Pending, None) => self.taking = Some((now, 0)),
            (Poll::Ready(Ok(count)), Some((_, taken))) => *taken += *count as u64,
            _ => {}
        }
        if let Some((since, taken)) = self.taking
            && now - since > self.patience
        {
            if taken < self.slowest.saturating_mul(self.patience.as_secs()) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.taking = Some((now, 0));
        }
        self.check(context, polled)
    }

    fn again(&mut self) {
        let deadline = Instant::now() + self.patience;
        self.deadline.as_mut().reset(deadline);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        if buffer.filled().len() > before {
            // Another request.
            self.taking = None;
        }
        self.check(context, polled)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.sent(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.sent(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(context);
        if polled.is_ready() {
            // With nothing to flush, nothing has gone.
            return polled;
        }
        self.check(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_shutdown(context);
        self.check(context, polled)
    }
}
