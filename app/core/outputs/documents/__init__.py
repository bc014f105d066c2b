"""Documents: what Elasticsearch holds of a prediction, made of joined records (`app.core.join.joined`).

One document for each row that a predictor answered, in the shape of Seldon's request logger
(https://github.com/SeldonIO/seldon-core/tree/v1.13.1/components/seldon-request-logger):

    index  inference-log-<engine>-<namespace>-<service>-<endpoint>, with a suffix -2026.11.21 where indices are daily
    _id    <puid> of one row, <puid>-item-<N> of several
    body   {"@timestamp", "RequestId", "ServingEngine", "Ce-Inferenceservicename", "Ce-Endpoint"?, "Ce-Namespace"?,
            "Ce-Modelid"?, "Ce-Modelversion"?,
            "request"?, "response"?: {"payload" (the whole body), "instance" (this row), "elements" (by column),
                "names"?, "dataType", "meta"?, "id"?, "parameters"?, "status"?, "error"?, "ce-time", "ce-source"?,
                "ce-modelid"?},
            "feedback"?: {the body: "truth" …, "reward" (a number), "ce-time", "ce-source"?, "ce-times"?,
                "ce-others"?},
            "outlier"?: {"data": {"is_outlier", …}, …, "ce-time", "ce-source"?},
            "verdict"?: {"predicted", "probability"? (of that class), "label"?, "correct"? or "error"?, "reward"?,
                "delay_seconds"?, "segments"?: {segment: value}}}

What a drift detector says goes to an index of its own, drift-log-<engine>-<namespace>-<detector>, under the puid.

What a record says is the same whatever came before: its parts are the winners of their kind and leg, and all that is
*state* (the verdict, the reward) stands in every record as a whole. So a document is what `merged` makes of the records
of its puid in their order in the log; to merge one again changes nothing.

- Models of one predictor that answer under one puid (a graph) share its documents: the request is that of the model
  asked first and the response that of the model that answered last, which are the graph's input and output, or both are
  those of `scored_model`. A part of another model than `Ce-Modelid` says so in `ce-modelid`.
- A request of k rows and a response of m rows meet only where k = m; else each has documents of its own.
- The reward of a puid is one, so of several rows the first has it: sums over documents are those of the series.
- A feedback that names no predictor is in the documents of those that have answered before it. Documents of one that
  answers later show it in their verdict alone.
- Several feedbacks become one: the newest truth, the newest reward, and all other fields of the newer of these two.
  What is older than `ce-time` has its time in `ce-times`, and what came with it beside in `ce-others`.
"""
