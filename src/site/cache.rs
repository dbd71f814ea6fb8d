//! A bounded store with a clock hand: the cache's memory, knowing nothing of files.
//!
//! Three things are bounded: entries, octets of memory, open handles. When one would be exceeded, the hand goes
//! round and puts out the first entry that was not used since it last came by and that holds some of what is
//! short ("second chance"): nearly as good as least-recently-used, and a hit writes one flag and moves nothing.
//!
//! Only what exists gets in; an address that leads nowhere costs memory only while it is answered.

use std::collections::HashMap;

use super::options::CacheLimits;

/// What a cached thing costs.
pub(super) trait Weigh {
    /// Octets, roughly.
    fn memory(&self) -> usize;
    /// Open files.
    fn handles(&self) -> usize;
}

/// The store. Keys are octets, so that a look-up borrows what the client sent. The map's hash is keyed at random
/// (SipHash), so nobody can choose names that collide.
pub(super) struct Cache<V> {
    limits: CacheLimits,
    places: HashMap<Box<[u8]>, usize>,
    slots: Vec<Option<Slot<V>>>,
    free: Vec<usize>,
    hand: usize,
    memory: usize,
    handles: usize,
}

struct Slot<V> {
    key: Box<[u8]>,
    value: V,
    used: bool,
    memory: usize,
    handles: usize,
}

/// Where an entry stands, until the next insertion or removal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(usize);

impl<V: Weigh> Cache<V> {
    pub(super) fn new(limits: CacheLimits) -> Self {
        Self {
            limits,
            places: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            hand: 0,
            memory: 0,
            handles: 0,
        }
    }

    /// Finds an entry and marks it as used. Allocates nothing.
    pub(super) fn find(&mut self, key: &[u8]) -> Option<Place> {
        let place = *self.places.get(key)?;
        self.slots.get_mut(place)?.as_mut()?.used = true;
        Some(Place(place))
    }

    /// The entry itself.
    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut V> {
        Some(&mut self.slots.get_mut(place.0)?.as_mut()?.value)
    }

    /// Puts an entry in, in place of one with the same key, and puts out others until it fits. One that alone
    /// exceeds the limits is dropped.
    pub(super) fn insert(&mut self, key: &[u8], value: V) {
        if let Some(&place) = self.places.get(key) {
            self.remove(Place(place));
        }
        let (memory, handles) = (value.memory() + 2 * key.len(), value.handles());
        let limits = self.limits;
        if limits.entries == 0 || memory > limits.memory_bytes || handles > limits.handles {
            return;
        }
        self.make_room(1, memory, handles, None);
        let key: Box<[u8]> = key.into();
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.places.insert(key.clone(), place);
        if let Some(slot) = self.slots.get_mut(place) {
            *slot = Some(Slot { key, value, used: false, memory, handles });
            self.memory += memory;
            self.handles += handles;
        }
    }

    /// Weighs an entry again after it was changed, and puts out others, in the end itself, if it grew too large.
    pub(super) fn reweigh(&mut self, place: Place) {
        let Some(Some(slot)) = self.slots.get_mut(place.0) else { return };
        let (memory, handles) = (slot.value.memory() + 2 * slot.key.len(), slot.value.handles());
        if (memory, handles) == (slot.memory, slot.handles) {
            return;
        }
        self.memory = self.memory - slot.memory + memory;
        self.handles = self.handles - slot.handles + handles;
        (slot.memory, slot.handles) = (memory, handles);
        if memory > self.limits.memory_bytes || handles > self.limits.handles {
            self.remove(place);
        } else {
            self.make_room(0, 0, 0, Some(place));
        }
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, place: Place) -> Option<V> {
        let slot = self.slots.get_mut(place.0)?.take()?;
        self.places.remove(&slot.key);
        self.free.push(place.0);
        self.memory -= slot.memory;
        self.handles -= slot.handles;
        Some(slot.value)
    }

    /// (entries, octets, handles) held now.
    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize, usize) {
        (self.places.len(), self.memory, self.handles)
    }

    fn make_room(&mut self, entries: usize, memory: usize, handles: usize, keep: Option<Place>) {
        let limits = self.limits;
        loop {
            let full = self.places.len() + entries > limits.entries;
            let heavy = self.memory + memory > limits.memory_bytes;
            let open = self.handles + handles > limits.handles;
            if !full && !heavy && !open {
                return;
            }
            // Twice round finds one: the first round takes the marks away.
            let victim = (0..2 * self.slots.len()).find_map(|_| {
                let at = self.hand;
                self.hand = (self.hand + 1) % self.slots.len();
                let slot = self.slots.get_mut(at)?.as_mut()?;
                let helps = full || heavy || slot.handles > 0;
                let spared = std::mem::take(&mut slot.used);
                (helps && !spared && keep.is_none_or(|keep| keep.0 != at)).then_some(Place(at))
            });
            let Some(victim) = victim else { return };
            self.remove(victim);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Thing(usize, usize);

    impl Weigh for Thing {
        fn memory(&self) -> usize {
            self.0
        }
        fn handles(&self) -> usize {
            self.1
        }
    }

    fn cache(memory_bytes: usize, entries: usize, handles: usize) -> Cache<Thing> {
        Cache::new(CacheLimits { memory_bytes, entries, handles, ..CacheLimits::default() })
    }

    #[test]
    fn nothing_is_ever_held_beyond_the_limits() {
        let mut cache = cache(1_000, 10, 3);
        for number in 0..500_usize {
            cache.insert(number.to_string().as_bytes(), Thing(number % 400, number % 2));
            let (entries, memory, handles) = cache.held();
            assert!(entries <= 10 && memory <= 1_000 && handles <= 3, "{entries} {memory} {handles}");
        }
        assert!(cache.slots.len() <= 11);
    }

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let mut cache = cache(1_000_000, 4, 0);
        cache.insert(b"hot", Thing(1, 0));
        for number in 0..100_usize {
            assert!(cache.find(b"hot").is_some(), "put out by {number}");
            cache.insert(number.to_string().as_bytes(), Thing(1, 0));
        }
        assert!(cache.find(b"0").is_none());
    }

    #[test]
    fn a_thing_too_large_is_not_kept_and_puts_nothing_out() {
        let mut cache = cache(100, 4, 0);
        cache.insert(b"a", Thing(1, 0));
        cache.insert(b"b", Thing(200, 0));
        cache.insert(b"c", Thing(1, 1));
        assert_eq!(cache.held().0, 1);
    }

    #[test]
    fn the_same_key_twice_is_one_entry() {
        let mut cache = cache(100, 4, 4);
        cache.insert(b"a", Thing(10, 1));
        cache.insert(b"a", Thing(20, 0));
        assert_eq!(cache.held(), (1, 22, 0));
    }

    #[test]
    fn a_thing_that_grows_is_weighed_again() {
        let mut cache = cache(100, 4, 4);
        cache.insert(b"a", Thing(10, 0));
        cache.insert(b"b", Thing(10, 0));
        let place = cache.find(b"b").unwrap();
        cache.get_mut(place).unwrap().0 = 90;
        cache.reweigh(place);
        assert_eq!(cache.held(), (1, 92, 0));
        assert!(cache.find(b"b").is_some());
        let place = cache.find(b"b").unwrap();
        cache.get_mut(place).unwrap().0 = 200;
        cache.reweigh(place);
        assert_eq!(cache.held(), (0, 0, 0));
    }
}
