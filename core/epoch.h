/* epoch.h - lets readers use shared objects without locks, and writers free them when no reader can still hold one.
 *
 * A reader enters, loads a pointer that writers publish (with a seq_cst load, the default: a weaker one could be taken
 * before the enter is seen), uses what it leads to, and leaves. A
 * writer unlinks an object, then retires it: it is freed once every reader that was inside at that moment has left.
 * This is epoch-based reclamation (Fraser, "Practical lock-freedom", 2004, section 5.2.3) with one slot a thread.
 *
 * COST     enter: one store with a full fence; leave: one store. A reader that stays inside delays only freeing.
 * THREADS  enter/leave: any thread; nested enters of one thread are counted. retire, reclaim: any thread.
 * INVARIANT an object retired at epoch e is freed only when every occupied slot shows an epoch above e.
 */
#ifndef CORE_EPOCH_H
#define CORE_EPOCH_H

#include <stdbool.h>

void epoch_enter(void);
void epoch_leave(void);

/* Calls fn(p) later, on whichever thread finds that no reader can hold p any more (maybe this one, now). Runs fn with
 * no lock held. Without memory for the note it waits for the readers instead, so it cannot fail; a caller that is inside
 * an epoch itself would wait for ever, so then the object is never freed. */
void epoch_retire(void (*fn)(void *p), void *p);

/* Frees what can be freed; true if nothing is left waiting. Called by the compactor now and then. */
bool epoch_reclaim(void);

/* Waits until everything retired so far is freed. Never while inside. For shutdown and tests. */
void epoch_drain(void);

#endif
