//! From weights that are parts and products to whole ones, as draws need them. Pure.

/// Weights in proportion to `exact`, the largest of them `most` (or less, where that keeps them exact enough). What is above
/// zero stays above zero; zero, and what is no number, becomes zero.
pub fn whole(exact: &[f64], most: u16) -> Vec<u16> {
    let largest = exact.iter().copied().filter(|weight| weight.is_finite()).fold(0.0, f64::max);
    if largest <= 0.0 {
        return vec![0; exact.len()];
    }
    let scale = f64::from(most.max(1)) / largest;
    let one = |&weight: &f64| {
        if weight > 0.0 { (weight * scale).round().clamp(1.0, f64::from(most.max(1))) as u16 } else { 0 }
    };
    exact.iter().map(one).collect()
}

/// Configured weights, each times a share of it in percent. A hundredfold, so that every percent shows.
pub fn percent(weights: &[(u16, u8)]) -> Vec<u16> {
    if weights.iter().all(|&(_, percent)| percent >= 100) {
        return weights.iter().map(|&(weight, _)| weight).collect();
    }
    let exact: Vec<f64> =
        weights.iter().map(|&(weight, percent)| f64::from(weight) * f64::from(percent.min(100))).collect();
    let largest = exact.iter().copied().fold(0.0, f64::max);
    whole(&exact, largest.min(f64::from(u16::MAX)) as u16)
}

/// Weights that may be sums: as they are where each fits, else in proportion.
pub fn fitting(weights: &[u32]) -> Vec<u16> {
    match weights.iter().map(|&weight| u16::try_from(weight).ok()).collect() {
        Some(fit) => fit,
        None => whole(&weights.iter().map(|&weight| f64::from(weight)).collect::<Vec<_>>(), u16::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_show_whatever_the_weights() {
        assert_eq!(percent(&[(1, 100), (1, 75)]), [100, 75]);
        assert_eq!(percent(&[(3, 100), (1, 33), (0, 50)]), [300, 33, 0]);
        assert_eq!(percent(&[(3, 100), (1, 100)]), [3, 1], "untouched when nobody asks for less");
        assert_eq!(percent(&[(60_000, 100), (1, 1)]), [65_535, 1]);
        assert_eq!(percent(&[(5, 0), (2, 0)]), [0, 0]);
    }

    #[test]
    fn sums_keep_their_proportion_where_they_are_too_large() {
        assert_eq!(fitting(&[3, 0, 65_535]), [3, 0, 65_535]);
        assert_eq!(fitting(&[120_000, 60_000]), [65_535, 32_768]);
    }

    #[test]
    fn whole_weights_keep_their_proportion() {
        assert_eq!(whole(&[0.5, 0.25, 0.0, f64::NAN], 1000), [1000, 500, 0, 0]);
        assert_eq!(whole(&[1e9, 1e-9], 1000), [1000, 1]);
        assert_eq!(whole(&[], 1000), [0u16; 0]);
    }
}
