"""Load an exported SavedModel and predict; needs TensorFlow alone.

from tf_transfer import serving
with serving.Predictor("runs/flowers/saved_model/1", top=3) as predictor:
    predictor.predict(["rose.jpg", array, content])   # [Prediction(file="rose.jpg", label="rose", ...), ...]
    for prediction in predictor.stream(paths):        # any number of files, decoded ahead, in bounded memory
        ...
"""

from tf_transfer.serving.predictor import Prediction, Predictor, load
from tf_transfer.serving.saved_model import card_of, locate

__all__ = ["Prediction", "Predictor", "card_of", "load", "locate"]
