// RUN: tidegate-opt %s -build-scores | FileCheck %s
// RUN: not tidegate-opt %s -build-scores=model=scored 2>&1 | FileCheck %s --check-prefix=SIGNATURE
// RUN: not tidegate-opt %s -build-loss -build-scores 2>&1 | FileCheck %s --check-prefix=TAKEN

// SIGNATURE: expects a model that maps ids of type tensor<?x?xi32> and weights to logits
// TAKEN: needs the name 'model.hidden' for its scores, but it is taken
// TAKEN: note: by this definition

// CHECK-LABEL: func.func private @model.hidden(
// CHECK-SAME:    -> tensor<?x?x8xf32>

// The log-probability, and whether no other id wins against the label: one before it with a logit that is not less,
// one behind it with one that is more. Its logits are float wherever memory has fewer bits.
// CHECK-LABEL: func.func private @scores.rows(
// CHECK-SAME:    %[[X:[^:]*]]: tensor<?x?x8xf32>, %[[W:[^:]*]]: tensor<16x8xf32>, %[[LABELS:[^:]*]]: tensor<?x?xi32>)
// CHECK-SAME:    -> (tensor<?x?x1xf32>, tensor<?x?x1xf32>) attributes {nn.exact}
// CHECK:         %[[Z:.*]] = nn.dot %[[X]], %[[W]]
// CHECK:         %[[P:.*]] = nn.pick %[[Z]], %[[LABELS]]
// CHECK:         %[[COUNTS:.*]] = nn.is_index %[[LABELS]]
// CHECK:         %[[SUM:.*]] = nn.reduce_sum
// CHECK:         %[[LOG:.*]] = nn.select %[[COUNTS]],
// CHECK:         %[[LESS:.*]] = nn.greater %[[P]], %[[Z]]
// CHECK:         %[[MORE:.*]] = nn.greater %[[Z]], %[[P]]
// CHECK:         %[[BEFORE:.*]] = nn.greater %[[LABEL:.*]], %[[ID:.*]] : tensor<?x?x1xf32>, tensor<16xf32>
// CHECK:         %[[BEHIND:.*]] = nn.greater %[[ID]], %[[LABEL]]
// CHECK:         %[[NOTLESS:.*]] = nn.sub %{{.*}}, %[[LESS]]
// CHECK:         %[[LARGER:.*]] = nn.mul %[[BEHIND]], %[[MORE]]
// CHECK:         %[[WINS:.*]] = nn.select %[[BEFORE]], %[[NOTLESS]], %[[LARGER]]
// CHECK:         nn.reduce_max %[[WINS]] [2]
// CHECK:         %[[LIKELIEST:.*]] = nn.mul %{{.*}}, %[[COUNTS]]
// CHECK:         return %[[LOG]], %[[LIKELIEST]]

// Rows of logits are twice as wide as what they come from: two blocks.
// CHECK-LABEL: func.func @scores(
// CHECK-SAME:    %[[IDS:[^:]*]]: tensor<?x?xi32> {nn.name = "ids"}, %[[L:[^:]*]]: tensor<?x?xi32> {nn.name = "labels"},
// CHECK-SAME:    %[[E:[^:]*]]: tensor<16x8xf32> {nn.weight = "embed"}, %[[W:[^:]*]]: tensor<16x8xf32> {nn.weight = "head"})
// CHECK:         %[[H:.*]] = call @model.hidden(%[[IDS]], %[[E]])
// CHECK:         %[[BOTH:.*]]:2 = nn.blocks @scores.rows 2(%[[H]], %[[W]], %[[L]])
// CHECK:         return %[[BOTH]]#0, %[[BOTH]]#1
func.func private @scored(%x: tensor<?x?x8xf32>) -> tensor<?x?x8xf32> {
  return %x : tensor<?x?x8xf32>
}
func.func @model(%ids: tensor<?x?xi32> {nn.name = "ids"}, %e: tensor<16x8xf32> {nn.weight = "embed"},
                 %w: tensor<16x8xf32> {nn.weight = "head"}) -> tensor<?x?x16xf32> {
  %x = nn.lookup %e, %ids : tensor<16x8xf32>, tensor<?x?xi32> -> tensor<?x?x8xf32>
  %z = nn.dot %x, %w contract [2] x [1] : tensor<?x?x8xf32>, tensor<16x8xf32>
  return %z : tensor<?x?x16xf32>
}
