//! What a module without the standard library has to bring: memory that is never given back, and what a panic does.

use core::alloc::{GlobalAlloc, Layout};
use core::arch::wasm32;
use core::cell::Cell;
use core::panic::PanicInfo;

const PAGE: usize = 64 * 1024;

struct Heap {
    next: Cell<usize>,
    end: Cell<usize>,
}

// There are no threads.
unsafe impl Sync for Heap {}

#[global_allocator]
static HEAP: Heap = Heap { next: Cell::new(0), end: Cell::new(0) };

unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mut start = self.next.get().next_multiple_of(layout.align());
        if start + layout.size() > self.end.get() {
            let pages = layout.size().div_ceil(PAGE);
            // What an adapter grew in between is not ours: the new pages need not follow those before.
            let Some(grown) = wasm32::memory_grow(0, pages).checked_mul(PAGE) else {
                return core::ptr::null_mut();
            };
            start = grown;
            self.end.set(grown + pages * PAGE);
        }
        self.next.set(start + layout.size());
        start as *mut u8
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    if let Some(place) = info.location() {
        crate::print(&alloc::format!("panic at {}:{}\n", place.file(), place.line()));
    }
    wasm32::unreachable()
}
