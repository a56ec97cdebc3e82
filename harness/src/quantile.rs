//! Quantiles of measured values; NaN when there are none.

/// The value below which `share` of the sorted values lie.
pub fn at(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share) as usize;
    sorted.get(rank.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// The value in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    at(&values, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_from_sorted_values() {
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!([at(&values, 0.5), at(&values, 0.99), at(&values, 1.0)].map(|value| value as u32), [50, 99, 99]);
        assert!(at(&[], 0.5).is_nan());
    }

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]).to_bits(), 2.0_f64.to_bits());
        assert!(median(Vec::new()).is_nan());
    }
}
