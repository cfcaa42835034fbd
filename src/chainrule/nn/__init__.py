"""Neural-network modules: layers, activations, losses, weight initialization. Names follow PyTorch."""

from chainrule.nn import functional as functional
from chainrule.nn import init as init
from chainrule.nn import utils as utils
from chainrule.nn.activations import *
from chainrule.nn.attention import *
from chainrule.nn.containers import *
from chainrule.nn.convolution import *
from chainrule.nn.layers import *
from chainrule.nn.losses import *
from chainrule.nn.module import *
from chainrule.nn.normalization import *
from chainrule.nn.recurrent import *
