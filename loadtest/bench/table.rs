//! The table, printed row by row as it is measured.

use crate::process::Cost;

/// One measured row of the throughput table.
pub fn row(name: &str, records: u64, seconds: f64, own: &Cost, store_cpu_s: Option<f64>) {
    let millions = records as f64 / 1e6;
    let store = store_cpu_s.map_or_else(|| "-".into(), |s| format!("{:.1}", s / millions));
    println!(
        "{name:<44} {:>10.0} {:>12.2} {store:>12} {:>10.0}",
        records as f64 / seconds,
        own.cpu_s / millions,
        own.peak_mib
    );
}

pub fn head() {
    println!(
        "{:<44} {:>10} {:>12} {:>12} {:>10}",
        "", "records/s", "own CPU-s/M", "store CPU-s/M", "peak MiB"
    );
}

/// What clients saw at a steady rate.
pub struct Live {
    /// Half, 99 and 99.9 of a hundred.
    pub quantiles_ms: [f64; 3],
    pub records: u64,
    pub own: Cost,
    pub store_cpu_s: Option<f64>,
}

pub fn live_head() {
    println!(
        "\n{:<44} {:>8} {:>8} {:>8} {:>12} {:>12} {:>10}",
        "produce to socket, 1000 clients",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "own CPU-s/M",
        "store CPU-s/M",
        "peak MiB"
    );
}

pub fn live(name: &str, live: &Live) {
    let [p50, p99, p999] = live.quantiles_ms;
    let millions = live.records as f64 / 1e6;
    let store = live.store_cpu_s.map_or_else(|| "-".into(), |s| format!("{:.1}", s / millions));
    let (cpu, peak) = (live.own.cpu_s / millions, live.own.peak_mib);
    println!("{name:<44} {p50:>8.1} {p99:>8.1} {p999:>8.1} {cpu:>12.1} {store:>12} {peak:>10.0}");
}

/// What is reached of what was to be reached.
pub fn ratio(name: &str, reached: f64, wanted: f64) {
    println!("  {name}: {reached:.2} (to reach: {wanted})");
}
