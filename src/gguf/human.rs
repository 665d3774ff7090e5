/// A count for people, in powers of a thousand: `134.52M`.
pub fn human_count(count: u64) -> String {
    scaled(count, 1000, &["", "K", "M", "B", "T", "Q"])
}

/// A size for people, in powers of 1024: `93.81MiB`.
pub fn human_bytes(bytes: u64) -> String {
    scaled(bytes, 1024, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"])
}

fn scaled(value: u64, step: u64, units: &[&str]) -> String {
    let mut divisor = 1u64;
    let mut chosen = units.first().copied().unwrap_or_default();
    for unit in units.iter().skip(1) {
        let Some(next) = divisor.checked_mul(step).filter(|next| value >= *next) else { break };
        (divisor, chosen) = (next, unit);
    }
    if divisor == 1 {
        return format!("{value}{chosen}");
    }
    format!("{:.2}{chosen}", value as f64 / divisor as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_sizes_read_as_docker_prints_them() {
        assert_eq!(human_count(134_515_008), "134.52M");
        assert_eq!(human_count(999), "999");
        assert_eq!(human_count(1_000), "1.00K");
        assert_eq!(human_count(70_553_706_496), "70.55B");
        assert_eq!(human_count(u64::MAX), "18446.74Q");
        assert_eq!(human_bytes(98_362_432), "93.81MiB");
        assert_eq!(human_bytes(0), "0B");
        assert_eq!(human_bytes(1 << 30), "1.00GiB");
    }
}
