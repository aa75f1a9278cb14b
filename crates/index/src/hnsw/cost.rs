//! What a search is expected to touch, for the planner.

/// Of the elements that a search could score in layer 0, the share that it had not scored before (pgvector's number).
const SCALING: f64 = 0.55;

/// Elements that a search expands in each upper layer, and in layer 0 beside those of its result.
const EXPANDED_PER_LAYER: f64 = 5.0;
/// Elements that a search expands in layer 0 for each place of its result: candidates that came in by an estimate.
const EXPANDED_PER_PLACE: f64 = 1.5;

/// Layers above layer 0 that so many elements fill.
fn layers(elements: f64, m: f64) -> f64 {
    (elements.ln() / m.ln()).trunc().max(0.0)
}

/// The share of an index's elements that a search scores where each is on a page of its own, as pgvector estimates it:
/// m per upper layer, and in layer 0 what `ef_search` expansions of 2 m neighbours leave after those seen before.
pub fn scored_share(elements: f64, m: f64, ef_search: f64) -> f64 {
    if elements <= 0.0 {
        return 1.0;
    }
    let most = 2.0 * m * ef_search;
    let fresh = SCALING * elements.ln() / (m.ln() * (1.0 + ef_search.ln()));
    ((layers(elements, m) * m + most * fresh) / elements).min(1.0)
}

/// The share of an index's pages that a search reads, where it reads elements only that it expands, each on so many
/// pages of their own.
pub fn read_share(elements: f64, pages: f64, pages_per_element: f64, m: f64, ef_search: f64) -> f64 {
    if elements < 1.0 || pages < 1.0 {
        return 1.0;
    }
    let expanded = (layers(elements, m) + 1.0) * EXPANDED_PER_LAYER + ef_search * EXPANDED_PER_PLACE;
    pages_share(pages, expanded.min(elements) * pages_per_element)
}

/// The share of `pages` that so many reads of pages at random come to.
pub fn pages_share(pages: f64, reads: f64) -> f64 {
    if pages < 1.0 { 1.0 } else { 1.0 - (-reads / pages).exp() }
}

/// Places of a result that a search under a filter looks beyond, for each that it fills, where all rows match.
const LED_THROUGH: f64 = 0.7;

/// The queue length that makes a search without a filter read as much as one of `ef_search` reads of which a `share` of
/// the rows match.
pub fn filtered_ef_search(ef_search: f64, share: f64) -> f64 {
    ef_search * (LED_THROUGH / share.max(f64::MIN_POSITIVE)).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_one() {
        for (elements, m, ef) in
            [(0.0, 16.0, 40.0), (1.0, 16.0, 40.0), (30.0, 2.0, 1000.0), (1e9, 100.0, 1.0)]
        {
            let shares = [scored_share(elements, m, ef), read_share(elements, elements / 4.0, 1.0, m, ef)];
            assert!(
                shares.iter().all(|share| (0.0..=1.0).contains(share)),
                "{elements} {m} {ef}: {shares:?}"
            );
        }
    }

    #[test]
    fn filters_that_let_little_through_make_searches_long() {
        assert_eq!(filtered_ef_search(40.0, 1.0), 40.0);
        assert!((filtered_ef_search(40.0, 0.1) - 280.0).abs() < 1e-6);
        assert!(filtered_ef_search(40.0, 0.0) > 1e100);
        assert!(read_share(1e5, 2e4, 1.0, 16.0, filtered_ef_search(40.0, 0.0)) > 0.99);
    }

    #[test]
    fn a_search_reads_the_pages_of_what_it_expands() {
        let pages = |elements: f64, pages: f64, per_element, ef| {
            read_share(elements, pages, per_element, 16.0, ef) * pages
        };
        // as measured on clustered data: 75 and 295 of 100,000, 106 of 50,000, 60 of 20,000, each on two pages
        assert!((70.0..95.0).contains(&pages(1e5, 26_114.0, 1.0, 40.0)));
        assert!((280.0..330.0).contains(&pages(1e5, 26_114.0, 1.0, 200.0)));
        assert!((70.0..110.0).contains(&pages(5e4, 26_114.0, 1.0, 40.0)));
        assert!((110.0..170.0).contains(&pages(2e4, 41_516.0, 2.0, 40.0)));
        // of a small index, most pages, and of none more than there are
        assert!((100.0..200.0).contains(&pages(2e3, 200.0, 1.0, 200.0)));
        assert!(pages(100.0, 30.0, 1.0, 1000.0) <= 30.0);
    }
}
