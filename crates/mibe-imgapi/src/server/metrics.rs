//! Figures for Prometheus.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::index::Index;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    state: &'static str,
}

/// What is counted.
pub struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    seconds: Histogram,
    pub sent: Counter,
    pub received: Counter,
    pub connections: Gauge,
    pub refused_connections: Counter,
    images: Family<InState, Gauge>,
    broken: Gauge,
    bytes: Gauge<u64, AtomicU64>,
}

impl Metrics {
    pub fn new() -> Self {
        // To the answer's beginning; files go on after that.
        let seconds = Histogram::new([0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0]);
        let mut metrics = Self {
            registry: Registry::with_prefix("mibe"),
            requests: Family::default(),
            seconds,
            sent: Counter::default(),
            received: Counter::default(),
            connections: Gauge::default(),
            refused_connections: Counter::default(),
            images: Family::default(),
            broken: Gauge::default(),
            bytes: Gauge::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("requests", "Requests answered", metrics.requests.clone());
        registry.register_with_unit(
            "answer",
            "Time until an answer began",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        registry.register(
            "file_sent_bytes",
            "Bytes of files sent",
            metrics.sent.clone(),
        );
        registry.register(
            "file_received_bytes",
            "Bytes of files received",
            metrics.received.clone(),
        );
        registry.register(
            "connections",
            "Connections open",
            metrics.connections.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections closed at once, because there were too many",
            metrics.refused_connections.clone(),
        );
        registry.register("images", "Images by state", metrics.images.clone());
        registry.register(
            "images_broken",
            "Manifests in the folder that can't be offered",
            metrics.broken.clone(),
        );
        registry.register(
            "images_size_bytes",
            "Bytes of all images",
            metrics.bytes.clone(),
        );
        metrics
    }

    pub fn answered(&self, method: &Method, status: StatusCode, time: Duration) {
        let method = match method.as_str() {
            "GET" => "GET",
            "HEAD" => "HEAD",
            "POST" => "POST",
            "PUT" => "PUT",
            "DELETE" => "DELETE",
            _ => "other",
        };
        let status = status.as_u16();
        self.requests
            .get_or_create(&Answered { method, status })
            .inc();
        self.seconds.observe(time.as_secs_f64());
    }

    /// In the text form of OpenMetrics, which Prometheus reads.
    pub fn text(&self, index: &Index) -> String {
        for state in mibe_image::manifest::State::ALL {
            let images = index.entries.iter().filter(|entry| entry.state() == *state);
            let label = InState {
                state: state.name(),
            };
            self.images.get_or_create(&label).set(images.count() as i64);
        }
        self.broken.set(index.broken.len() as i64);
        let sizes = index
            .entries
            .iter()
            .flat_map(|entry| entry.manifest.files.iter().flatten());
        self.bytes.set(sizes.map(|file| file.size).sum());
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
