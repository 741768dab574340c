"""What is changed in the graph of a function before `torch.compile` makes code of it: see `products`."""

import operator
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import fx
from torch._inductor import ir, lowering, mkldnn_ir
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch.utils._pytree import tree_map_only

from condkl_studies import products  # noqa: F401 - it registers the operators that are looked for here

_LARGE = 1_500_000  # multiplications from which a product goes to oneDNN, whose calls take 7 microseconds each
_aten = torch.ops.aten


@lowering.register_lowering(torch.ops.condkl.onednn_product.default, type_promotion_kind=None)
def _call_onednn(a: Any, b: Any, bias: Any) -> Any:
    """The call in the generated code. Torch's own lowering copies factors that are transposed; oneDNN reads them."""
    # oneDNN reads the second factor as it lies, and would copy the first one more slowly than generated code does.
    inputs = [ir.ExternKernel.require_contiguous(a), ir.ExternKernel.realize_input(lowering.permute(b, [1, 0]))]
    constants: list[Any] = ["none", [-1], ""]
    if bias is None:
        constants.insert(0, None)
    else:
        inputs.append(ir.ExternKernel.realize_input(bias))
    size = [a.get_size()[0], b.get_size()[1]]
    layout = ir.FixedLayout(device=a.get_device(), dtype=a.get_dtype(), size=size)
    call = mkldnn_ir.LinearUnary(layout=layout, inputs=inputs, constant_args=constants)
    return ir.TensorBox.create(mkldnn_ir._create_output_node(call))


class FasterCalls(CustomGraphPass):
    """Writes them into the graph of a step in float32; `onednn` says whether all other products are its."""

    def __init__(self, onednn: bool) -> None:
        self.onednn = onednn

    def uuid(self) -> Any:
        """What a cache of generated code knows this by."""
        return get_hash_for_files((__file__,), str(self.onednn))

    def __call__(self, graph: fx.Graph) -> None:
        """Change the graph."""
        for x in graph.find_nodes(op="call_function", target=torch.ops.condkl.as_floats.default):
            _sum_rows(graph, x)
        for target, better in _BETTER.items():
            for node in graph.find_nodes(op="call_function", target=target):
                if node.meta["val"].dtype == torch.float32 and (better is _tanh or (self.onednn and _is_large(node))):
                    _replace(graph, node, better)


def _is_large(product: fx.Node) -> bool:
    """Whether a product is worth what a call of oneDNN takes by itself."""
    n, k = cast(fx.Node, product.args[-2]).meta["val"].shape
    return bool(n * k * product.meta["val"].shape[1] > _LARGE)


_Call = Callable[..., Any]


def _replace(graph: fx.Graph, node: fx.Node, better: _Call) -> None:
    """Put what `better` makes of the node's arguments, with calls written before it, in its place."""

    def call(target: Any, *arguments: Any) -> fx.Node:
        made = graph.call_function(target, arguments)
        made.meta["val"] = target(*tree_map_only(fx.Node, lambda one: one.meta["val"], arguments))
        return made

    with graph.inserting_before(node):
        node.replace_all_uses_with(better(call, *node.args))
    graph.erase_node(node)


def _sum_rows(graph: fx.Graph, x: fx.Node) -> None:
    """Make the products with x, and with x turned, sums of rows; x itself is a cast."""
    _, by_image, image_starts, by_pixel, pixel_starts = x.args

    def rows(call: _Call, matrix: fx.Node, places: Any, starts: Any) -> fx.Node:
        bag = call(_aten._embedding_bag_forward_only.default, matrix, places, starts, False, 0, False, None, True)
        return call(operator.getitem, bag, 0)

    def times(call: _Call, _: fx.Node, matrix: fx.Node) -> fx.Node:
        return rows(call, matrix, by_image, image_starts)

    def times_and_bias(call: _Call, bias: fx.Node, _: fx.Node, matrix: fx.Node) -> fx.Node:
        return call(_aten.add.Tensor, rows(call, matrix, by_image, image_starts), bias)

    def turned_times(call: _Call, _: fx.Node, matrix: fx.Node) -> fx.Node:
        return rows(call, matrix, by_pixel, pixel_starts)

    for user in list(x.users):
        if user.target is _aten.mm.default and user.args[0] is x:
            _replace(graph, user, times)
        elif user.target is _aten.addmm.default and user.args[1] is x:
            _replace(graph, user, times_and_bias)
        elif user.target is _aten.permute.default:
            for product in list(user.users):
                if product.target is _aten.mm.default and product.args[0] is user:
                    _replace(graph, product, turned_times)
    _replace(graph, x, lambda call, bits, *_: call(torch.ops.prims.convert_element_type.default, bits, torch.float32))


def _tanh(call: _Call, value: fx.Node) -> fx.Node:
    """tanh(x) = 2/(1 + exp(-2x)) - 1, off by rounding to 1, in a third of the time."""
    logistic = call(_aten.sigmoid.default, call(_aten.mul.Tensor, value, 2))
    return call(_aten.sub.Tensor, call(_aten.mul.Tensor, logistic, 2), 1)


def _product(call: _Call, a: fx.Node, b: fx.Node) -> fx.Node:
    return call(torch.ops.condkl.onednn_product.default, a, b, None)


def _sum_of_product(call: _Call, added: fx.Node, a: fx.Node, b: fx.Node) -> fx.Node:
    if added.meta["val"].dim() == 1:
        return call(torch.ops.condkl.onednn_product.default, a, b, added)
    return call(_aten.add.Tensor, _product(call, a, b), added)


_BETTER: dict[Any, _Call] = {
    _aten.tanh.default: _tanh,
    _aten.mm.default: _product,
    _aten.addmm.default: _sum_of_product,
}
