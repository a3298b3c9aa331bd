//! What a host counts, in the text format of [Prometheus](https://prometheus.io/docs/instrumenting/exposition_formats/).

use std::fmt::Write as _;

use wharf::Host;
use wharf::api::State;
use wharf::usage::{BOUNDS, Histogram};

/// The content type of the format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Metrics of a host, to which others can be added: each once, with all of its values.
#[derive(Debug, Default)]
pub struct Exposition(String);

impl Exposition {
    /// Begins a metric: `counter`, `gauge` or `histogram`.
    pub fn metric(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Adds a value with its labels to the metric that was begun last.
    pub fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        self.labels(labels, None);
        let _ = writeln!(self.0, " {value}");
    }

    /// Adds a histogram with its labels, in seconds.
    pub fn histogram(&mut self, name: &str, labels: &[(&str, &str)], histogram: &Histogram) {
        let counts = histogram.cumulative();
        let bounds = BOUNDS.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(counts) {
            let _ = write!(self.0, "{name}_bucket");
            self.labels(labels, Some(("le", &bound)));
            let _ = writeln!(self.0, " {count}");
        }
        self.value(&format!("{name}_sum"), labels, histogram.sum().as_secs_f64());
        self.value(&format!("{name}_count"), labels, counts[BOUNDS.len()]);
    }

    fn labels(&mut self, labels: &[(&str, &str)], more: Option<(&str, &str)>) {
        let mut open = '{';
        for (name, value) in labels.iter().copied().chain(more) {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{open}{name}=\"{value}\"");
            open = ',';
        }
        if open == ',' {
            self.0.push('}');
        }
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

/// The metrics of a host and its process.
pub(crate) fn of(host: &Host, out: &mut Exposition) {
    let ids = host.workload_ids();
    let running: Vec<_> = ids.iter().filter_map(|id| host.running(id).ok()).collect();
    let names: Vec<String> = running.iter().map(|running| running.workload().id()).collect();
    out.metric("wharf_workloads", "gauge", "Workloads on the host.");
    out.value("wharf_workloads", &[("state", "running")], running.len());
    out.value("wharf_workloads", &[("state", "other")], ids.len() - running.len());
    let entries = || {
        let each = running.iter().zip(&names);
        each.flat_map(|(running, id)| running.entries().map(move |entry| (id.as_str(), entry)))
    };
    let calls = "wharf_calls_total";
    out.metric(calls, "counter", "Calls that have ended.");
    for (id, entry) in entries() {
        let (usage, component) = (entry.tracker().usage(), entry.name().as_str());
        let failed = usage.failed();
        let ok = usage.calls().saturating_sub(failed);
        out.value(calls, &[("workload", id), ("component", component), ("outcome", "ok")], ok);
        out.value(calls, &[("workload", id), ("component", component), ("outcome", "failed")], failed);
    }
    let cpu = "wharf_cpu_seconds_total";
    out.metric(cpu, "counter", "CPU time of guests.");
    for (id, entry) in entries() {
        let labels = [("workload", id), ("component", entry.name().as_str())];
        out.value(cpu, &labels, entry.tracker().usage().cpu().as_secs_f64());
    }
    let statuses: Vec<_> = running.iter().map(|running| running.summary(State::Running)).collect();
    let active = "wharf_calls_active";
    out.metric(active, "gauge", "Calls that run or wait for admission.");
    for status in &statuses {
        out.value(active, &[("workload", &status.id)], status.calls);
    }
    let instances = "wharf_instances";
    out.metric(instances, "gauge", "Instances that wait for a call, and those that serve several.");
    for status in &statuses {
        out.value(instances, &[("workload", &status.id), ("mode", "ready")], status.ready);
        out.value(instances, &[("workload", &status.id), ("mode", "shared")], status.shared);
    }
    let refusals = "wharf_limit_refusals_total";
    out.metric(refusals, "counter", "Refusals by each limit that was reached.");
    for status in &statuses {
        for (limit, count) in &status.refusals {
            out.value(refusals, &[("workload", &status.id), ("limit", limit.name())], count);
        }
    }
    let restarts = "wharf_service_restarts_total";
    out.metric(restarts, "counter", "Restarts of services.");
    for status in &statuses {
        for service in &status.services {
            let labels = [("workload", status.id.as_str()), ("component", service.component.as_str())];
            out.value(restarts, &labels, service.restarts);
        }
    }
    process(out);
}

/// The metrics of the process, from `/proc`.
fn process(out: &mut Exposition) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program, in parentheses, may contain spaces.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<u64>().ok());
    // Linux reports times in hundredths of a second to programs, whatever its clock is.
    let ticks = |number| field(number).map(|ticks| std::time::Duration::from_millis(ticks * 10).as_secs_f64());
    if let (Some(user), Some(system)) = (ticks(14), ticks(15)) {
        out.metric("process_cpu_seconds_total", "counter", "CPU time of the process.");
        out.value("process_cpu_seconds_total", &[], user + system);
    }
    if let Some(pages) = field(24) {
        out.metric("process_resident_memory_bytes", "gauge", "Resident memory of the process.");
        out.value("process_resident_memory_bytes", &[], pages * rustix::param::page_size() as u64);
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        out.metric("process_open_fds", "gauge", "Open file descriptors.");
        out.value("process_open_fds", &[], files.count());
    }
}
