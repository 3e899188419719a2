/* segments.h - the tree of segments and the key/value store, as attention and rope see them. */

#ifndef SPPO_SEGMENTS_H
#define SPPO_SEGMENTS_H

#include "core/tensor.h"

enum { SPPO_PAGE = 64 };  // tokens in a page of keys and values

typedef struct sppo__segment {
    int parent;        // without a store: segment of this batch it continues, -1 for none
    int slot;          // with a store: the slot its tokens go to
    int64_t start;     // its first token in the batch
    int64_t count;     // its tokens in the batch
    int64_t position;  // position of its first token of this batch in its text
} sppo__segment;

/* A segment whose keys the batch needs: one of the batch, or a stored slot that one continues.
 * Nodes lie in preorder, and tokens in "tree order" follow them: first a node's own tokens of this
 * batch, then those of all nodes that continue it. So what sees a node is one range of tokens, and
 * an ancestor comes before whatever continues it. */
typedef struct sppo__node {
    int slot;          // with a store; -1 without
    int64_t start;     // its first token in the batch
    int64_t offset;    // keys stored before this batch
    int64_t position;  // of its first key in its text
    int64_t count;     // its own tokens in the batch
    int64_t begin;     // tree order: first own token ..
    int64_t end;       // .. and one past the last token that continues it
    int64_t page;      // with a store: its first page; without: number of pages before its own
    // while the order is made
    int parent;
    int nodes, next_node;
    int64_t next_token;
} sppo__node;

struct sppo_segments {
    int refs;
    sppo_kv *kv;  // NULL when training
    int count, capacity;
    int64_t tokens;
    bool used;       // by an op: nothing may be added
    bool committed;  // the store has its tokens: no op may use it again
    sppo__segment *segment;
    // the tree, made when an op first needs it
    bool planned;
    int nodes, trees;
    int64_t pages;      // without a store: pages that all keys take
    sppo__node *draft;  // nodes in the order of adding
    sppo__node *node;   // nodes in preorder
    int *tree;          // node of each root, then `nodes`
};

/* What an op does first: the tokens must be `tokens`, the batch not committed; makes the tree. */
sppo_status sppo__segments_use(sppo_segments *at, const char *op, int64_t tokens);

/* Number of the segment that token `token` of the batch belongs to. */
int sppo__segments_find(const sppo_segments *at, int64_t token);

#endif
